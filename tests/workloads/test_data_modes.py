"""Kinds of pictures that people have: each read with its right values, or refused by name."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from simhw.errors import WorkloadError
from simhw_workloads.data.folders import image_folder, read_image
from tests.places import SHARED

MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
CASES = SHARED / "cases"


def values(path: Path, size: int = 4) -> Tensor:
    """Channels (3, size, size) of a whole picture, 0 to 1: what was normalised, undone."""
    return read_image(path, size, whole=True) * STD + MEAN


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]  # of the format
    return path


@pytest.mark.parametrize("level", [0, 1, 255, 256, 32_639, 65_535])
def test_sixteen_bits_of_grey_keep_their_value(level: int, tmp_path: Path):
    path = saved(tmp_path / "g16.png", Image.fromarray(np.full((6, 6), level, np.uint16)))
    torch.testing.assert_close(values(path), torch.full((3, 4, 4), level / 65_535), atol=1e-6, rtol=0)


def test_the_case_of_a_sixteen_bit_grey_image_has_its_mean():
    path = CASES / "g16.png"
    if not path.exists():
        pytest.skip("the folder of failing inputs does not lie beside the checkout")
    # Its rows are 0, 1040, 2080, ... 65535: 0.498 of 256 levels, 0.49999 of 65,536.
    assert values(path, 64).mean().item() == pytest.approx(0.49999, abs=1e-5)


# A ramp, so that a channel or a place exchanged is seen.
RAMP = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
COLOURS = np.stack([RAMP, 255 - RAMP, RAMP.T], axis=-1)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(RAMP), np.stack([RAMP] * 3)),
        (Image.fromarray(COLOURS), COLOURS.transpose(2, 0, 1)),
        (Image.fromarray(RAMP > 100), np.stack([(RAMP > 100) * 255] * 3)),
        (Image.fromarray(np.stack([RAMP, np.full_like(RAMP, 255)], axis=-1), "LA"), np.stack([RAMP] * 3)),
        (
            Image.fromarray(np.concatenate([COLOURS, np.full((4, 4, 1), 255, np.uint8)], axis=-1)),
            COLOURS.transpose(2, 0, 1),
        ),
        (Image.fromarray(COLOURS).convert("P", palette=Image.Palette.ADAPTIVE, colors=16), COLOURS.transpose(2, 0, 1)),
    ],
    ids=["L", "RGB", "1", "LA opaque", "RGBA opaque", "P"],
)
def test_every_mode_of_png_gives_its_colours(image: Image.Image, expected: np.ndarray, tmp_path: Path):
    torch.testing.assert_close(
        values(saved(tmp_path / "some.png", image)), torch.tensor(expected / 255).float(), atol=1e-5, rtol=0
    )


def test_sixteen_bits_of_colour_keep_the_upper_eight(tmp_path: Path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + struct.pack(">3H", 0x1234, 0x80FF, 0xFF00) * 2
    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    path = tmp_path / "c16.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * 2)) + chunk(b"IEND", b"")
    )
    expected = torch.tensor([0x12, 0x80, 0xFF])[:, None, None].expand(3, 2, 2) / 255
    torch.testing.assert_close(values(path, 2), expected, atol=1e-6, rtol=0)


def test_cmyk_is_what_pillow_makes_of_it(tmp_path: Path):
    # Of cyan 128 and no black, red is 255 - 128.
    path = saved(tmp_path / "ink.jpg", Image.new("CMYK", (16, 16), (128, 0, 255, 0)), quality=100)
    torch.testing.assert_close(values(path).mean((1, 2)), torch.tensor([127.0, 255.0, 0.0]) / 255, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGBA", (4, 4), (1, 2, 3, 254)),
        Image.new("LA", (4, 4), (9, 0)),
    ],
    ids=["RGBA", "LA"],
)
def test_transparent_pixels_are_refused(image: Image.Image, tmp_path: Path):
    with pytest.raises(WorkloadError, match="transparent"):
        read_image(saved(tmp_path / "clear.png", image), 4)


def test_a_colour_named_as_transparent_is_refused_where_a_pixel_has_it(tmp_path: Path):
    for kind, colour, clear in (("P", 0, 0), ("L", 7, 7), ("RGB", (1, 2, 3), (1, 2, 3))):
        image = Image.new(kind, (4, 4), colour)
        with pytest.raises(WorkloadError, match="transparent"):
            read_image(saved(tmp_path / "clear.png", image, transparency=clear), 4)
    grey = Image.new("L", (4, 4), 7)
    assert values(saved(tmp_path / "opaque.png", grey, transparency=8)).mean().item() == pytest.approx(7 / 255)


@pytest.mark.parametrize("orientation", range(10))
def test_the_camera_s_note_turns_the_picture_as_pillow_does_and_notes_that_say_nothing_do_not(
    orientation: int, tmp_path: Path
):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.repeat(np.repeat(COLOURS, 16, 0), 16, 1))
    path = saved(tmp_path / "phone.jpg", image, exif=exif, quality=95, subsampling=0)
    upright = saved(tmp_path / "upright.png", ImageOps.exif_transpose(Image.open(path)))
    torch.testing.assert_close(read_image(path, 8), read_image(upright, 8), atol=0.02, rtol=0)
    assert torch.equal(
        read_image(path, 8), read_image(saved(tmp_path / "as-is.png", Image.open(path), exif=b""), 8)
    ) == (orientation not in range(2, 9))


def test_animations_are_refused(tmp_path: Path):
    frames = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (0, 200)]
    path = saved(tmp_path / "moving.png", frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(WorkloadError, match="an animation of 2 pictures"):
        read_image(path, 4)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_pictures_cut_off_anywhere_are_refused(suffix: str, tmp_path: Path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    whole = saved(tmp_path / f"whole.{suffix}", noise).read_bytes()
    path = tmp_path / f"cut.{suffix}"
    for length in range(0, len(whole) - 64, len(whole) // 20):
        path.write_bytes(whole[:length])
        with pytest.raises(WorkloadError, match=rf"cut\.{suffix}: not a usable"):
            read_image(path, 8)


def test_a_small_file_of_many_pixels_is_refused_before_they_are_made(tmp_path: Path):
    # 81 million pixels, below Pillow's own limit.
    path = saved(tmp_path / "blank.png", Image.new("L", (9000, 9000)))
    with pytest.raises(WorkloadError, match=r"81\.0 million pixels in \d+ bytes; scale it down"):
        read_image(path, 8)


def test_a_note_that_unpacks_without_end_is_refused(tmp_path: Path):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("comment", "x" * (1 << 26), zip=True)
    path = saved(tmp_path / "note.png", Image.new("L", (4, 4)), pnginfo=notes)
    with pytest.raises(WorkloadError, match="not a usable JPEG or PNG image"):
        read_image(path, 8)


# Folders


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for part in ("train", "val"):
        (tmp_path / part / "cat").mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / part / "cat" / "1.png")
    return tmp_path


def test_links_are_followed_and_those_that_lead_nowhere_named(classes: Path):
    (classes / "train" / "dog").symlink_to(classes / "train" / "cat", target_is_directory=True)
    (classes / "train" / "cat" / "2.png").symlink_to("1.png")
    task = image_folder(classes, 4)
    assert task.train[1].tolist() == [0, 0, 1, 1]
    (classes / "train" / "cat" / "3.png").symlink_to("nowhere.png")
    with pytest.raises(WorkloadError, match=r"3\.png: has the name of an image, but is no file"):
        image_folder(classes)


@pytest.mark.parametrize(
    "make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path), lambda path: path.symlink_to(path)]
)
def test_folders_pipes_and_circles_with_the_name_of_an_image_are_refused(make: object, classes: Path):
    make(classes / "train" / "cat" / "2.jpg")  # type: ignore[operator]
    with pytest.raises(WorkloadError, match=r"2\.jpg: has the name of an image, but is no file"):
        image_folder(classes)


def test_folders_that_cannot_be_read_are_named(classes: Path, monkeypatch: pytest.MonkeyPatch):
    def scandir(place: Path) -> object:
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(WorkloadError, match=r"train: cannot be read \(Permission denied\)"):
        image_folder(classes)


def test_a_name_of_300_characters_is_one_line(tmp_path: Path):
    with pytest.raises(WorkloadError, match="cannot be read"):
        image_folder(tmp_path / ("x" * 300))
    with pytest.raises(WorkloadError, match="cannot be read"):
        read_image(tmp_path / ("x" * 300 + ".png"), 4)


def test_names_that_are_not_utf_8_are_read_as_any(classes: Path):
    os.rename(classes / "train" / "cat" / "1.png", os.fsencode(classes / "train" / "cat") + b"/\xff.png")
    task = image_folder(classes, 4)
    assert task.rows(torch.tensor([0])).inputs.shape == (1, 3, 4, 4)


def test_a_picture_read_from_memory_is_that_of_the_file(tmp_path: Path):
    stream = BytesIO()
    Image.fromarray(COLOURS).save(stream, "PNG")
    (tmp_path / "some.png").write_bytes(stream.getvalue())
    torch.testing.assert_close(
        values(tmp_path / "some.png"), torch.tensor(COLOURS).permute(2, 0, 1) / 255, atol=1e-6, rtol=0
    )
