# What jobs compute on, and what a cluster is asked for.


def device_of(wildcards):
    """The device that a model is trained on and predicts with."""
    return model_of(wildcards).training.device


def devices_of(wildcards):
    """How many devices share the training of a fold, as far as that is known here."""
    devices = model_of(wildcards).training.devices
    return 1 if devices == "auto" else devices


def gpu_of(wildcards):
    """How many GPUs a job asks for: one, or none where there is none or it is not used."""
    return int(CONFIG.request_gpus and device_of(wildcards) != "cpu")


def gpus_of(wildcards):
    """How many GPUs the training of a fold asks for: one for each device."""
    return gpu_of(wildcards) * devices_of(wildcards)
