"""Fixtures for the tests of Crossfold and of its plugins."""

pytest_plugins = ["azureml_emulator.fixtures"]
