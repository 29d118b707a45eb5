"""Style, fonts and the picture of a clip, for reports, detections, trainings and studies."""
