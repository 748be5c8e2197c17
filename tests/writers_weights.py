"""One set of VGG values written in every format in which people have them.

Each writer takes `{"conv1_1": {"kernel": [h, w, in, out], "bias": [out]}, ...}` for
RGB input and writes what its own world would: other axes, other names, blue first.
"""

import pickle

import h5py
import numpy as np
import scipy.io
from safetensors.numpy import save_file
from writers_caffe import write_caffemodel
from writers_pickle import torch_legacy, torch_zip
from writers_tf import write_bundle

MEAN_BGR = np.float32([103.939, 116.779, 123.68])
FEATURES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
BATCH_NORM = (0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49)
ADAIN = (2, 5, 9, 12, 16, 19, 22, 25, 29, 32, 35, 38, 42, 45, 48, 51)


def bgr(params):
    first = dict(params["conv1_1"])
    first["kernel"] = np.ascontiguousarray(first["kernel"][:, :, ::-1])
    return params | {"conv1_1": first}


def oihw(kernel):
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


def torch_arrays(params, indices=FEATURES, prefix="features."):
    arrays = {}
    for at, parts in zip(indices, params.values(), strict=False):
        arrays[f"{prefix}{at}.weight"] = oihw(parts["kernel"])
        arrays[f"{prefix}{at}.bias"] = parts["bias"]
    return arrays


def classifier(*numbers):
    return {f"classifier.{n}.weight": np.ones((2, 2), np.float32) for n in numbers}


def keras(path, params, kernel, bias):
    with h5py.File(path, "w") as file:
        for n, (layer, parts) in enumerate(bgr(params).items()):
            block = layer.replace("conv", "block").replace("_", "_conv")
            words = {"b": block, "n": f"conv2d_{n}" if n else "conv2d"}
            file[kernel.format(**words)] = parts["kernel"]
            file[bias.format(**words)] = parts["bias"]
        if "vars" not in kernel:
            file["fc1/fc1_W_1:0"] = np.ones((2, 2), np.float32)


def keras_old(path, params):
    keras(path, params, "{b}/{b}_W_1:0", "{b}/{b}_b_1:0")


def keras_new(path, params):
    keras(path, params, "{b}/{b}/kernel:0", "{b}/{b}/bias:0")


def keras_3(path, params):
    keras(path, params, "layers/{b}/vars/0", "layers/{b}/vars/1")


def keras_3_by_order(path, params):
    keras(path, params, "layers/{n}/vars/0", "layers/{n}/vars/1")


def pth_zip(path, params):
    path.write_bytes(torch_zip(torch_arrays(bgr(params)) | classifier(1, 4, 6)))


def pth_legacy(path, params):
    path.write_bytes(torch_legacy(torch_arrays(bgr(params)) | classifier(1, 4, 6)))


def pth_bare(path, params):
    path.write_bytes(torch_zip(torch_arrays(bgr(params), prefix="")))


def pth_wrapped(path, params):
    arrays = torch_arrays(bgr(params), prefix="state_dict.module.features.")
    path.write_bytes(torch_zip(arrays))


def pth_by_layer(path, params):
    arrays = {}
    for layer, parts in bgr(params).items():
        arrays[f"{layer}.weight"] = oihw(parts["kernel"])
        arrays[f"{layer}.bias"] = parts["bias"]
    path.write_bytes(torch_legacy(arrays))


def pth_adain(path, params):
    color = np.zeros((3, 3, 1, 1), np.float32)
    color[[0, 1, 2], [2, 1, 0]] = 255
    arrays = {"0.weight": color, "0.bias": -MEAN_BGR}
    arrays |= torch_arrays(bgr(params), ADAIN, "")
    path.write_bytes(torch_zip(arrays))


def safetensors(path, params):
    arrays = torch_arrays(bgr(params))
    arrays["head.fc.weight"] = np.ones((2, 2), np.float32)
    save_file(arrays, path)


def caffe_old(path, params):
    layers = {k: [oihw(p["kernel"]), p["bias"]] for k, p in bgr(params).items()}
    write_caffemodel(path, layers | {"fc6": [np.ones((2, 2), np.float32)]}, old=True)


def caffe_new(path, params):
    layers = {k: [oihw(p["kernel"]), p["bias"]] for k, p in bgr(params).items()}
    write_caffemodel(path, layers)


def cell(*values):
    out = np.empty((1, len(values)), object)
    out[0, :] = values
    return out


def matconvnet(path, params, layout="new"):
    layers = [
        {"name": k, "type": "conv", "weights": cell(p["kernel"], p["bias"][None])}
        for k, p in params.items()
    ]
    scipy.io.savemat(path, {"layers": cell(*layers), "meta": {"a": 1.0}})


def npy(path, params):
    tree = {k: [p["kernel"], p["bias"]] for k, p in bgr(params).items()}
    with path.open("wb") as file:
        np.save(file, tree | {"fc6": [np.ones((2, 2))]}, allow_pickle=True)


def numpy_pickle(path, params):
    tree = {
        f"Conv_{n}": {"kernel": p["kernel"], "bias": p["bias"]}
        for n, p in enumerate(params.values())
    }
    path.write_bytes(pickle.dumps({"VGG19_0": tree}))


def tf_slim(path, params):
    arrays = {}
    for layer, parts in params.items():
        scope = f"vgg_19/{layer[:5]}/{layer}"
        arrays[f"{scope}/weights"] = parts["kernel"]
        arrays[f"{scope}/biases"] = parts["bias"]
    write_bundle(path, arrays | {"global_step": np.int64(3)})


# Name -> writer, ending of the file, what has to be stated.
FORMATS = {
    "keras old": (keras_old, ".h5", "oxford-bgr"),
    "keras new": (keras_new, ".h5", "oxford-bgr"),
    "keras 3": (keras_3, ".weights.h5", "oxford-bgr"),
    "keras 3 by order": (keras_3_by_order, ".weights.h5", "oxford-bgr"),
    "pth zip": (pth_zip, ".pth", "oxford-bgr"),
    "pth legacy": (pth_legacy, ".pth", "oxford-bgr"),
    "pth bare": (pth_bare, ".pth", "oxford-bgr"),
    "pth wrapped": (pth_wrapped, ".pth", "oxford-bgr"),
    "pth by layer": (pth_by_layer, ".pth", "oxford-bgr"),
    "pth adain": (pth_adain, ".pth", "oxford-bgr"),
    "safetensors": (safetensors, ".safetensors", "oxford-bgr"),
    "caffe old": (caffe_old, ".caffemodel", "oxford-bgr"),
    "caffe new": (caffe_new, ".caffemodel", "oxford-bgr"),
    "matconvnet": (matconvnet, ".mat", "oxford-rgb"),
    "npy": (npy, ".npy", "oxford-bgr"),
    "numpy pickle": (numpy_pickle, ".ckpt", "oxford-rgb"),
    "tf-slim": (tf_slim, ".ckpt", "oxford-rgb"),
}
