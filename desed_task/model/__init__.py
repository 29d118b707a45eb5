"""A trained network as a folder that can be handed on: weights.safetensors and model.json."""

from desed_task.model.description import ModelDescription
from desed_task.model.folder import load_model, save_model, write_model
from desed_task.model.network import Model, ModelOutput

__all__ = [
    "Model",
    "ModelDescription",
    "ModelOutput",
    "load_model",
    "save_model",
    "write_model",
]
