"""All commands that read pictures accept and refuse the same files of folders and archives."""

import io
import json
import os
import re
import shutil
import socket
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gconv_gan.commands import gallery
from gconv_gan.commands.score import scores, statistics
from gconv_gan.commands.train import gan
from gconv_gan.config.sections.data import FolderDataConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.prepare import main as prepare
from gconv_gan.data.sources.folder import folder
from gconv_gan.metrics.images.sources import ImageFiles
from gconv_gan.metrics.score_card import Score
from gconv_gan.runtime.script import run_script
from tests.data.made import encoded, noise
from tests.training.tiny import toml

Make = Callable[[Path], Path]


def png(seed: int) -> bytes:
    return encoded(noise(seed, 8, 8, 3), "PNG")


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def plain(root: Path, count: int = 12) -> Path:
    """Two class folders of pictures."""
    for i in range(count):
        put(root / "ab"[i % 2] / f"{i:02}.png", png(i))
    return root


def pack_zip(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def pack_tar(path: Path, members: list[tuple[str, bytes | str]]) -> Path:
    """Write a tar of files, and of links where the content is text: "->target" symbolic, "=target" hard."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type = tarfile.SYMTYPE if content.startswith("->") else tarfile.LNKTYPE
                info.linkname = content.lstrip("-=>")
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def members(count: int = 12) -> list[tuple[str | zipfile.ZipInfo, bytes]]:
    return [(f"{'ab'[i % 2]}/{i:02}.png", png(i)) for i in range(count)]


def tar_members(count: int = 12) -> list[tuple[str, bytes | str]]:
    return [(f"{'ab'[i % 2]}/{i:02}.png", png(i)) for i in range(count)]


# --- what is read ----------------------------------------------------------------------------------------------------------------


def linked_class_folders(folder: Path) -> Path:
    plain(folder / "elsewhere")
    root = plain(folder / "p")
    (root / "c").symlink_to(folder / "elsewhere/a")
    (root / "d").mkdir()
    (root / "d/one.png").symlink_to(folder / "elsewhere/b/01.png")
    (root / "a/back").symlink_to(root)
    return root


SUFFIXES = (
    *("png", "apng", "jpg", "JPEG", "jpe", "jfif", "webp", "avif", "gif", "bmp", "dib", "tif", "tiff", "ppm", "pgm", "pbm", "pnm", "tga"),
    *("jp2", "j2k", "pcx", "qoi", "ico"),
)


def every_suffix(folder: Path) -> Path:
    for i, suffix in enumerate(SUFFIXES):
        image = Image.fromarray(noise(i, 8, 8, 3)).convert("1" if suffix in ("pbm",) else "L" if suffix == "pgm" else "RGB")
        path = folder / f"p/{i:02}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        image.save(path, Image.registered_extensions()["." + suffix.lower()])
    put(folder / "p/notes.txt", b"no picture")
    put(folder / "p/phone.heic", b"ftypheic")
    return folder / "p"


def hidden_files(folder: Path) -> Path:
    root = plain(folder / "p")
    for name in (".hidden.png", "a/._00.png", ".git/x.png", "__MACOSX/a/y.png", "b/.thumbs/z.png"):
        put(root / name, png(99))
    return root


def special_files(folder: Path) -> Path:
    root = plain(folder / "p")
    os.mkfifo(root / "a/pipe.png")
    here = os.getcwd()
    os.chdir(root / "b")  # the name of a socket may have 108 bytes only
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
    os.chdir(here)
    return root


def other_encodings(folder: Path) -> Path:
    root = plain(folder / "p")
    for name in (b"caf\xe9.png", b"new\nline.png", "日本.png".encode("shift_jis"), "\N{GRINNING FACE}.png".encode()):
        Path(os.fsdecode(bytes(root / "a") + b"/" + name)).write_bytes(png(len(name)))
    os.rename(bytes(root / "b"), bytes(root) + b"/b\xfc")
    return root


def names_from_windows(folder: Path) -> Path:
    return pack_zip(folder / "p.zip", [(f"p\\{'ab'[i % 2]}\\{i:02}.png", png(i)) for i in range(12)])


def undeclared_utf8(folder: Path) -> Path:
    path = pack_zip(folder / "p.zip", [*members(), ("b/日本.png", png(20))])
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := data.find(mark, start + 1)) >= 0:
            data[start + place + 1] &= ~0x08
    return put(path, bytes(data))


def dotted_names(folder: Path) -> Path:
    return pack_zip(folder / "p.zip", [(f"./p//{name}", content) for name, content in members()])


def dotted_names_in_tar(folder: Path) -> Path:
    return pack_tar(folder / "p.tar", [("./" + name, content) for name, content in tar_members()])


def linked_in_tar(folder: Path) -> Path:
    links: list[tuple[str, bytes | str]] = [("c/x.png", "->../a/00.png"), ("c/y.png", "=b/01.png"), ("d", "->a"), ("a/back", "->..")]
    return pack_tar(folder / "p.tar", [*links, *tar_members()])


def linked_in_zip(folder: Path) -> Path:
    link = zipfile.ZipInfo("c/x.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return pack_zip(folder / "p.zip", [(link, b"../a/00.png"), *members()])


def much_text(folder: Path) -> Path:
    root = plain(folder / "p")
    text = PngInfo()
    text.add_text("Comment", "x" * 3_000_000, zip=True)
    Image.fromarray(noise(40, 8, 8, 3)).save(root / "a/text.png", pnginfo=text)
    profile = zlib.compress(bytes(2_000_000))
    chunk = b"iCCP" + b"p\0\0" + profile
    whole = png(41)
    put(root / "a/profile.png", whole[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[33:])
    return root


def broken_exif(folder: Path) -> Path:
    root = plain(folder / "p")
    Image.fromarray(noise(42, 8, 8, 3)).save(root / "a/exif.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    Image.fromarray(noise(43, 8, 8, 3)).save(root / "a/no_exif.jpg", exif=b"Exif\0\0nonsense")
    return root


def mixed_shapes(folder: Path) -> Path:
    for i, (height, width) in enumerate([(8, 8), (20, 31), (64, 9), (5, 5), (1, 30)] * 3):
        put(folder / f"p/{i:02}.png", encoded(noise(i, height, width, 3), "PNG"))
    return folder / "p"


READ: dict[str, tuple[Make, int, str]] = {
    "linked class folders": (linked_class_folders, 19, "1 linked to a folder around it (a/back)"),
    "every suffix": (every_suffix, len(SUFFIXES), "2 of a kind that is not read as a picture (notes.txt, …)"),
    "hidden files": (hidden_files, 12, "5 hidden (.git, …)"),
    "special files": (special_files, 12, "2 a pipe, socket or device (a/pipe.png, …)"),
    "other encodings": (other_encodings, 16, ""),
    "names from Windows": (names_from_windows, 12, ""),
    "undeclared UTF-8": (undeclared_utf8, 13, ""),
    "dotted names": (dotted_names, 12, ""),
    "dotted names in a tar": (dotted_names_in_tar, 12, ""),
    "links in a tar": (linked_in_tar, 20, "1 linked to a folder around it (a/back)"),
    "links in a zip": (linked_in_zip, 13, ""),
    "much text": (much_text, 14, ""),
    "broken EXIF": (broken_exif, 14, ""),
    "mixed shapes": (mixed_shapes, 15, ""),
}


@pytest.fixture
def ends(tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Run a command; return its exit code, what it printed, and what it said to standard error or the log."""

    def run(command: Callable[[list[str]], int | None], *arguments: str) -> tuple[int, str, str]:
        caplog.clear()
        codes = [0]
        try:
            run_script(lambda: codes.append(command([*arguments]) or 0))
        except SystemExit as end:
            codes.append(int(end.code or 0))
        printed = capsys.readouterr()
        return codes[-1], printed.out, printed.err + "\n".join(caplog.messages)

    return run


def train_arguments(path: Path, tmp_path: Path, *more: str) -> list[str]:
    data = {"kind": "folder", "path": str(path), "size": 8, "labels": "none", "cache_dir": str(tmp_path / "cache")}
    return [str(toml(tmp_path, conditional=False, data=data, trainer={"batch_size": 1})), *more]


@pytest.mark.filterwarnings("default:.*:UserWarning")  # Pillow's, of broken metadata
@pytest.mark.parametrize("case", READ)
def test_training_and_scoring_take_the_same_files_in_the_same_order(
    case: str, tmp_path: Path, judge: Path, ends: Callable[..., tuple[int, str, str]]
) -> None:
    make, count, left_out = READ[case]
    path = make(tmp_path)
    code, out, said = ends(gan.main, *train_arguments(path, tmp_path, "--dry-run"))
    assert (code, f"data: {count} images of 8×8" in out) == (0, True), said
    assert (said + out).count("left out") == bool(left_out)
    assert left_out in out
    data = FolderDataConfig(path=str(path), size=8, labels="none", cache_dir=str(tmp_path / "cache"))
    files = ImageFiles(path, size=8, memory=tmp_path / "memory")
    assert files.names == [entry.name for entry in folder(data).open().entries]
    assert (files.take(range(len(files))).numpy() == open_dataset(data, progress=False).images[:]).all()
    result = tmp_path / "scores.json"
    common = ["--extractor", f"checkpoint:{judge}", "--cache-dir", str(tmp_path / "scoring"), "--size", "8"]
    code, _, said = ends(scores.main, str(path), "--reference", "digits", "--metrics", "fid", "--json", str(result), *common)
    assert code == 0, said
    assert said.count("left out") == bool(left_out)
    assert left_out in said
    card = Score.model_validate_json(result.read_text()).card
    assert card.formula.num_fake == count
    assert card.fakes.recipe is not None
    assert re.search(r"^size 8; pictures .*centre crop, PIL bicubic antialiased", card.fakes.recipe)
    code, out, said = ends(statistics.main, str(path), *common)
    assert (code, f": {count} images" in out, "size 8; pictures" in out) == (0, True, True), said


@pytest.mark.parametrize("packed", [False, True])
def test_a_split_is_found_below_a_wrapper_by_both(
    packed: bool, tmp_path: Path, judge: Path, ends: Callable[..., tuple[int, str, str]]
) -> None:
    for split, count in (("train", 12), ("test", 14)):
        plain(tmp_path / "w/set" / split, count)
    put(tmp_path / "w/set/readme.txt", b"")
    path = Path(shutil.make_archive(str(tmp_path / "w"), "zip", tmp_path / "w")) if packed else tmp_path / "w"
    for split, count in (("train", 12), ("test", 14)):
        code, out, said = ends(gan.main, *train_arguments(path, tmp_path, "--data.split", split, "--dry-run"))
        assert (code, f"data: {count} images" in out) == (0, True), said
        common = ["--extractor", f"checkpoint:{judge}", "--cache-dir", str(tmp_path / "scoring")]
        code, out, said = ends(scores.main, str(path), "--reference", str(path), "--reference-split", split, "--metrics", "fid", *common)
        assert (code, f"26 against {count} images" in out) == (0, True), said
        code, out, said = ends(statistics.main, str(path), "--split", split, *common)
        assert (code, f": {count} images" in out) == (0, True), said
    code, _, said = ends(scores.main, str(path), "--reference", str(path), "--reference-split", "trian", "--metrics", "fid", *common)
    assert (code, "did you mean 'train'?" in said) == (2, True)


def test_pictures_of_mixed_sizes_are_scored_only_where_a_size_is_named(
    tmp_path: Path, judge: Path, ends: Callable[..., tuple[int, str, str]]
) -> None:
    path = mixed_shapes(tmp_path)
    common = ["--metrics", "fid", "--extractor", f"checkpoint:{judge}", "--cache-dir", str(tmp_path / "scoring")]
    code, _, said = ends(scores.main, str(path), "--reference", str(path), *common)
    assert code == 2
    assert "01.png has 31x20 pixels but 00.png has 8x8: bring them to one square size with --size, such as --size 64" in said
    result = tmp_path / "scores.json"
    assert ends(scores.main, str(path), "--reference", str(path), "--size", "8", "--json", str(result), *common)[0] == 0
    card = Score.model_validate_json(result.read_text()).card
    assert card.fakes.recipe == card.reference.recipe
    code, _, said = ends(scores.main, str(path), "--reference", "digits", "--size", "8", *common)
    assert code == 0, said
    code, _, said = ends(scores.main, str(path), "--reference", "cifar10", "--size", "64", *common)
    assert (code, "--reference: size" in said) == (2, True)


# --- what is refused -------------------------------------------------------------------------------------------------------------


def twice_in_zip(folder: Path) -> Path:
    with pytest.warns(UserWarning, match="Duplicate"):
        return pack_zip(folder / "p.zip", [*members(), ("a/00.png", png(5))])


def twice_by_a_dot(folder: Path) -> Path:
    return pack_zip(folder / "p.zip", [*members(), ("./a/00.png", png(5))])


def twice_in_tar(folder: Path) -> Path:
    return pack_tar(folder / "p.tar", [*tar_members(), ("a/00.png", png(5))])


def flagged(folder: Path, flag: int = 0, method: int | None = None) -> Path:
    """Return a zip whose third member is said to be encrypted, or packed by another method."""
    path = pack_zip(folder / "p.zip", members(), zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        for _ in range(3):
            start = data.index(mark, start + 1)
        data[start + place] |= flag
        if method is not None:
            data[start + place + 2] = method
    return put(path, bytes(data))


def encrypted(folder: Path) -> Path:
    return flagged(folder, flag=1)


def deflate64(folder: Path) -> Path:
    return flagged(folder, method=9)


def wrong_crc(folder: Path) -> Path:
    path = pack_zip(folder / "p.zip", members())
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 20] ^= 255
    return put(path, bytes(data))


def lost_header(folder: Path) -> Path:
    path = pack_zip(folder / "p.zip", members(), zipfile.ZIP_LZMA)
    data = bytearray(path.read_bytes())
    data[data.index(b"a/00.png") + 8 : data.index(b"b/01.png") - 30] = bytes(data.index(b"b/01.png") - 30 - data.index(b"a/00.png") - 8)
    return put(path, bytes(data))


def claims_two_gigabytes(folder: Path) -> Path:
    path = pack_zip(folder / "p.zip", members(), zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = struct.pack("<I", 2**31)
    return put(path, bytes(data))


def invalid_utf8_name(folder: Path) -> Path:
    path = pack_zip(folder / "p.zip", [*members(), ("b/日本.png", png(20))])
    return put(path, path.read_bytes().replace("日本".encode(), b"\xff\xfe\xff\xfe\xff\xfe"))


def half_a_zip(folder: Path) -> Path:
    path = pack_zip(folder / "p.zip", members())
    return put(path, path.read_bytes()[:2000])


def huge(folder: Path) -> Path:
    """A PNG whose header claims 400 megapixels."""
    root = plain(folder / "p")
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    whole = png(0)
    put(root / "b/huge.png", whole[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + whole[33:])
    return root


def tar_without_its_end(folder: Path) -> Path:
    path = pack_tar(folder / "p.tar", tar_members())
    with tarfile.open(path) as archive:
        place = archive.getmembers()[8].offset
    return put(path, path.read_bytes()[:place])  # between two members: tarfile reads it without an error


def tar_cut_within_a_member(folder: Path) -> Path:
    path = pack_tar(folder / "p.tar", tar_members())
    return put(path, path.read_bytes()[:5000])


def tar_with_a_broken_header(folder: Path) -> Path:
    path = pack_tar(folder / "p.tar", tar_members())
    with tarfile.open(path) as archive:
        place = archive.getmembers()[5].offset
    data = bytearray(path.read_bytes())
    data[place + 148] ^= 255
    return put(path, bytes(data))


def compressed_tar(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder / "p"), "gztar", plain(folder / "p")))


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "p.zip")
    return folder / "p.zip"


def link_to_nowhere(folder: Path) -> Path:
    root = plain(folder / "p")
    (root / "a/lost.png").symlink_to(folder / "gone.png")
    return root


def lost_link_in_tar(folder: Path) -> Path:
    return pack_tar(folder / "p.tar", [*tar_members(), ("a/lost.png", "->/elsewhere/x.png")])


def no_picture(folder: Path) -> Path:
    root = plain(folder / "p")
    put(root / "b/page.jpg", b"<html>not found</html>")
    return root


def cut_short(folder: Path) -> Path:
    root = plain(folder / "p")
    put(root / "a/cut.jpg", encoded(noise(1, 64, 64, 3), "JPEG")[:1000])
    return root


REFUSED: dict[str, tuple[Make, str]] = {
    "twice in a zip": (twice_in_zip, r"p\.zip holds a/00\.png twice"),
    "twice by a dot": (twice_by_a_dot, r"p\.zip holds a/00\.png twice"),
    "twice in a tar": (twice_in_tar, r"p\.tar holds a/00\.png twice"),
    "encrypted": (encrypted, r"p\.zip is encrypted; unpack it"),
    "Deflate64": (deflate64, r"p\.zip: a/02\.png is compressed by Deflate64"),
    "wrong CRC": (wrong_crc, r"p\.zip: a/00\.png cannot be used \(Bad CRC-32"),
    "broken member": (lost_header, r"p\.zip: a/00\.png cannot be used \(.+\)"),
    "two gigabytes": (claims_two_gigabytes, r"p\.zip: a/00\.png cannot be used \(the file has more than 1,073,741,824 bytes\)"),
    "invalid UTF-8": (invalid_utf8_name, r"p\.zip is a damaged zip: 'utf-8' codec"),
    "half a zip": (half_a_zip, r"p\.zip is neither a folder nor a whole zip"),
    "400 megapixels": (huge, r"b/huge\.png cannot be used \(Image size \(400000000 pixels\) exceeds limit of \d+ pixels\)"),
    "tar without its end": (tar_without_its_end, r"p\.tar is no whole plain tar: it is cut short or damaged at byte"),
    "tar cut within a member": (tar_cut_within_a_member, r"p\.tar is no whole plain tar: unexpected end of data"),
    "tar with a broken header": (tar_with_a_broken_header, r"p\.tar is no whole plain tar: it is cut short or damaged at byte"),
    "compressed tar": (compressed_tar, r"p\.tar\.gz is no whole plain tar: unpack its compression first"),
    "pipe": (pipe, r"p\.zip is a pipe, socket or device, not a file"),
    "link to nowhere": (link_to_nowhere, r"p: a/lost\.png is a link to a missing file; put the picture there, or remove the link"),
    "lost link in a tar": (lost_link_in_tar, r"p\.tar: a/lost\.png is a link to a missing file"),
    "no picture": (no_picture, r"p: b/page\.jpg cannot be used \(not a picture of a known format\)"),
    "cut short": (cut_short, r"p: a/cut\.jpg cannot be used \(.*truncated"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_every_command_refuses_in_one_sentence_that_names_the_file(
    case: str, tmp_path: Path, judge: Path, run: Path, ends: Callable[..., tuple[int, str, str]]
) -> None:
    make, sentence = REFUSED[case]
    path = make(tmp_path)
    good = plain(tmp_path / "good")
    common = ["--metrics", "fid", "--extractor", f"checkpoint:{judge}", "--cache-dir", str(tmp_path / "scoring"), "--size", "8"]
    config = json.loads((run / "config.json").read_text())
    data = {"kind": "folder", "path": str(path), "size": 8, "cache_dir": str(tmp_path / "cache")}
    (run / "config.json").write_text(json.dumps({**config, "data": data}))
    commands: dict[str, tuple[Callable[[list[str]], int | None], list[str]]] = {
        "dry run": (gan.main, train_arguments(path, tmp_path, "--dry-run")),
        "training": (gan.main, train_arguments(path, tmp_path)),
        "scored pictures": (scores.main, [str(path), "--reference", str(good), *common]),
        "reference": (scores.main, [str(good), "--reference", str(path), *common]),
        "statistics": (statistics.main, [str(path), *common[2:]]),
        "gallery": (gallery.main, [str(run), "--out", str(tmp_path / "gallery")]),
        "prepare": (prepare, ["folder", "--path", str(path), "--size", "8", "--cache-dir", str(tmp_path / "cache")]),
    }
    for name, (command, arguments) in commands.items():
        code, _, said = ends(command, *arguments)
        refusal = [line for line in said.strip().splitlines() if not line.startswith("converting ")]  # prepare says what it begins
        assert (name, code, len(refusal)) == (name, 2, 1), said
        assert re.search(sentence, refusal[0]), (name, said)


def test_a_gallery_is_drawn_without_its_training_data_where_they_are_gone(
    tmp_path: Path, run: Path, ends: Callable[..., tuple[int, str, str]]
) -> None:
    config = json.loads((run / "config.json").read_text())
    data = {"kind": "folder", "path": str(tmp_path / "gone"), "size": 8, "cache_dir": str(tmp_path / "cache")}
    (run / "config.json").write_text(json.dumps({**config, "data": data}))
    code, out, said = ends(gallery.main, str(run), "--out", str(tmp_path / "gallery"))
    assert (code, "the data are absent" in out) == (0, True), said


def test_a_path_that_is_not_valid_utf8_is_refused(tmp_path: Path, ends: Callable[..., tuple[int, str, str]]) -> None:
    path = os.fsdecode(bytes(tmp_path) + b"/caf\xe9")
    plain(Path(path))
    for command, arguments in ((gan.main, [str(toml(tmp_path)), "--data.path", path, "--dry-run"]), (prepare, ["folder", "--path", path])):
        code, _, said = ends(command, *arguments)
        assert (code, "caf\\xe9 is not valid UTF-8; rename" in said, len(said.strip().splitlines())) == (2, True, 1)


def test_a_run_is_not_resized(judge: Path, run: Path, ends: Callable[..., tuple[int, str, str]]) -> None:
    code, _, said = ends(scores.main, str(run), "--size", "16", "--extractor", f"checkpoint:{judge}")
    assert (code, "--size 16 is for pictures in files" in said) == (2, True)


def shard(folder: Path, contents: list[tuple[str, bytes | str]]) -> Path:
    return pack_tar(folder / "s-000000.tar", contents)


SHARDS: dict[str, tuple[list[tuple[str, bytes | str]], str]] = {
    "a name twice": ([("0.png", png(0)), ("1.png", png(1)), ("./0.png", png(2))], r"s-000000\.tar holds 0\.png twice"),
    "a link": ([("0.png", png(0)), ("1.png", "->0.png")], r"s-000000\.tar: 1\.png is a link or a special file"),
    "two pictures": ([("0.png", png(0)), ("0.avif", png(1))], r"the sample 0 has 2 pictures \(png, avif\), not one"),
    "no picture": ([("0.png", b"<html>")], r"s-000000\.tar: 0\.png cannot be used \(not a picture of a known format\)"),
}


@pytest.mark.parametrize("case", [*SHARDS, "no end", "a pipe"])
def test_tar_shards_are_refused_in_the_same_way(case: str, tmp_path: Path, ends: Callable[..., tuple[int, str, str]]) -> None:
    if case in SHARDS:
        contents, sentence = SHARDS[case]
        path = shard(tmp_path, contents)
    elif case == "a pipe":
        path, sentence = tmp_path / "s-000000.tar", r"s-000000\.tar is a pipe, socket or device"
        os.mkfifo(path)
    else:
        path, sentence = tar_without_its_end(tmp_path), r"p\.tar is no whole plain tar: it is cut short or damaged at byte"
    data = {"kind": "webdataset", "path": str(path), "size": 8, "cache_dir": str(tmp_path / "cache")}
    for more in (["--dry-run"], []):
        code, _, said = ends(gan.main, str(toml(tmp_path, conditional=False, data=data)), *more)
        assert (code, len(said.strip().splitlines())) == (2, 1), said
        assert re.search(sentence, said), said


def test_hidden_members_of_shards_are_no_samples(tmp_path: Path, ends: Callable[..., tuple[int, str, str]]) -> None:
    path = shard(
        tmp_path, [("./._0.png", b"x"), ("__MACOSX/0.png", b"x"), *((f"./{i}.jfif", encoded(noise(i, 8, 8, 3), "JPEG")) for i in range(16))]
    )
    data = {"kind": "webdataset", "path": str(path), "size": 8, "cache_dir": str(tmp_path / "cache")}
    code, out, said = ends(gan.main, str(toml(tmp_path, conditional=False, data=data)), "--dry-run")
    assert (code, "data: 16 images of 8×8" in out) == (0, True), said
