"""A loopback Azure Machine Learning that the unmodified SDKs talk to. See README.md."""
