"""Conversations put into a model's own chat template, safely: a template is somebody's program."""
