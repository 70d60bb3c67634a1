"""What `python -m crossfold` does: runs listed and watched, here and on Azure Machine Learning."""
