"""Post-processing of class scores: median filter, sound event bounding boxes, tuning."""
