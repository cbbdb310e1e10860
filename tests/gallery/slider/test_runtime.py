"""The runtime of the slider is read from the folder of the npm package; another folder is refused in one sentence."""

import json
from pathlib import Path

import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.slider.runtime import read_runtime
from tests.gallery.slider.packages import BINARY, installed, stand_in


def test_the_package_and_its_folder_dist_give_the_same_runtime(tmp_path: Path) -> None:
    package = stand_in(tmp_path)
    runtime = read_runtime(package)
    assert (runtime.version, runtime.binary) == ("9.8.7", BINARY)
    assert read_runtime(package / "dist") == runtime


def test_the_license_is_the_notice_of_the_script_with_the_terms(tmp_path: Path) -> None:
    text = read_runtime(stand_in(tmp_path)).license
    assert text.startswith("Stand-in v9.8.7\nCopyright (c) Somebody.\n\nPermission is hereby granted, free of charge")
    assert "OUT OF OR IN" in text


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for content in (None, "{", "[]", "{}", json.dumps({"name": "onnxruntime-node", "version": "1.30.0"})):
        if content is not None:
            (other / "package.json").write_text(content)
        with pytest.raises(UserError) as error:
            read_runtime(other)
        assert str(error.value) == (
            f"--slider {other} is not the package onnxruntime-web: npm install --no-save onnxruntime-web, "
            "and give node_modules/onnxruntime-web"
        )
    with pytest.raises(UserError, match="nowhere is not the package onnxruntime-web"):
        read_runtime(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"])
def test_a_version_that_lacks_a_file_is_named(tmp_path: Path, file: str) -> None:
    package = stand_in(tmp_path)
    (package / "dist" / file).unlink()
    with pytest.raises(UserError) as error:
        read_runtime(package)
    assert str(error.value) == (
        f"--slider {package}: onnxruntime-web 9.8.7 has no dist/{file}, which versions since 1.19 have: "
        "npm install --no-save onnxruntime-web@latest"
    )


def test_the_installed_package_is_read() -> None:
    runtime = read_runtime(installed())
    assert runtime.binary.startswith(b"\0asm")
    assert runtime.license.startswith("ONNX Runtime Web v")
    assert "Copyright (c) Microsoft Corporation" in runtime.license
