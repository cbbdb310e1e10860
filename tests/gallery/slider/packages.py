"""The package onnxruntime-web: the installed one, for tests that run a model in the browser, and a small stand-in for the others."""

import json
import os
from pathlib import Path

import pytest

from gconv_gan.gallery.slider.runtime import INSTALL

STAND_IN = """/*!
 * Stand-in v9.8.7
 * Copyright (c) Somebody.
 */
var ort={env:{wasm:{}},Tensor:class{constructor(type,data,dims){Object.assign(this,{type,data,dims})}},
  InferenceSession:{create:async(model,options)=>{
    const {wasmBinary,wasmPaths,numThreads}=ort.env.wasm;
    window.made={model:[...model],binary:[...new Uint8Array(wasmBinary)],loader:(await import(wasmPaths.mjs)).default,numThreads,options};
    return {run:async feeds=>{window.fed=feeds;const {data}=feeds.z;
      return {images:{data:Float32Array.from({length:3*8*8},(_,i)=>data[i%data.length])}}}}}}};
"""
"""Its image is the latent, repeated."""
LOADER, BINARY = "export default import.meta.url;", bytes(range(256)) * 5


def stand_in(folder: Path) -> Path:
    """Write a package with the files of onnxruntime-web and return its folder."""
    package = folder / "onnxruntime-web"
    (package / "dist").mkdir(parents=True)
    (package / "package.json").write_text(json.dumps({"name": "onnxruntime-web", "version": "9.8.7", "license": "MIT"}))
    (package / "dist" / "ort.wasm.min.js").write_text(STAND_IN)
    (package / "dist" / "ort-wasm-simd-threaded.mjs").write_text(LOADER)
    (package / "dist" / "ort-wasm-simd-threaded.wasm").write_bytes(BINARY)
    return package


def installed() -> Path:
    """Return the folder of the installed package; without one, skip the test."""
    folder = Path(os.environ.get("ONNXRUNTIME_WEB", Path(__file__).parents[3] / "node_modules" / "onnxruntime-web"))
    if not (folder / "package.json").is_file():
        pytest.skip(f"needs onnxruntime-web: {INSTALL} in the root of the repository, or its folder in the variable ONNXRUNTIME_WEB")
    return folder
