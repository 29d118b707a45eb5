"""Many runs with one driver: ablation, reproduction on DESED, gradients of the loss terms."""
