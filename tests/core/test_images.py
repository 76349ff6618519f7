from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from ocrcore.images import ImageError, as_rgb, find_images, image_size, read_image, write_image


@pytest.fixture
def blocks() -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    return np.kron(small, np.ones((16, 16, 1), np.uint8))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path, blocks, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(blocks).save(path, exif=exif.tobytes())
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
        assert np.abs(as_rgb(image).astype(int) - expected).mean() < 3
    found = read_image(path)
    assert found.shape == expected.shape
    assert image_size(path) == expected.shape[:2]
    assert np.abs(found.astype(int) - expected).mean() < 3  # decoders round differently


def test_png_round_trip(tmp_path, blocks):
    write_image(tmp_path / "a" / "b.png", blocks)
    np.testing.assert_array_equal(read_image(tmp_path / "a" / "b.png"), blocks)


def test_names_may_be_in_any_script(tmp_path, blocks):
    path = tmp_path / "фото 写真.png"
    write_image(path, blocks)
    assert read_image(path).shape == blocks.shape


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (255, 0, 0, 255)
    rgba[0, 1] = (0, 0, 0, 128)
    for image in (rgba, Image.fromarray(rgba)):
        out = as_rgb(image)
        assert out[0, 0].tolist() == [255, 0, 0]
        assert out[0, 1].tolist() == [127, 127, 127]
        assert out[1, 1].tolist() == [255, 255, 255]
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), out)
    Image.fromarray(rgba).save(tmp_path / "a.webp", lossless=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp"), out)


def test_a_transparent_palette_is_laid_over_white(tmp_path):
    image = Image.new("P", (3, 2), 0)
    image.putpalette([0, 0, 0, 250, 10, 10])
    image.putpixel((1, 1), 1)
    image.save(tmp_path / "p.png", transparency=0)
    out = read_image(tmp_path / "p.png")
    assert out[0, 0].tolist() == [255, 255, 255]
    assert out[1, 1].tolist() == [250, 10, 10]
    with Image.open(tmp_path / "p.png") as opened:
        np.testing.assert_array_equal(as_rgb(opened), out)


def test_sixteen_bits_are_scaled(tmp_path):
    deep = np.array([[0, 257 * 100], [65535, 256]], np.uint16)
    expected = np.array([[0, 100], [255, 1]], np.uint8)
    ok, data = cv2.imencode(".png", deep)
    assert ok
    (tmp_path / "deep.png").write_bytes(data.tobytes())
    for image in (deep, Image.open(io.BytesIO(data.tobytes())), deep[:, :, None]):
        np.testing.assert_array_equal(as_rgb(image)[:, :, 0], expected)
    found = read_image(tmp_path / "deep.png").astype(int)
    assert np.abs(found[:, :, 1] - expected).max() <= 1
    np.testing.assert_array_equal(as_rgb(deep.astype(np.float32) / 65535)[0, 1], [100] * 3)


def test_other_kinds_of_arrays():
    gray = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.testing.assert_array_equal(as_rgb(gray), np.repeat(gray[:, :, None], 3, 2))
    assert as_rgb(gray > 2)[1, 1].tolist() == [255] * 3
    turned = np.zeros((4, 6, 3), np.uint8).transpose(1, 0, 2)
    assert as_rgb(turned).flags.c_contiguous
    assert as_rgb(Image.new("L", (3, 2), 7)).tolist() == np.full((2, 3, 3), 7).tolist()
    assert as_rgb(Image.new("CMYK", (3, 2))).shape == (2, 3, 3)
    assert as_rgb(Image.new("1", (3, 2), 1)).max() == 255


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 3, 5), np.uint8), "shape"),
        (np.zeros(3, np.uint8), "shape"),
        (np.zeros((0, 3, 3), np.uint8), "no pixels"),
        (np.zeros((2, 3), np.int64), "type int64"),
        (np.full((2, 3), 7.0), "outside"),
        (np.full((2, 3), np.nan), "outside"),
    ],
)
def test_what_is_no_picture_is_refused(image, message):
    with pytest.raises(ImageError, match=message):
        as_rgb(image)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff\xe0" + bytes(40)])
@pytest.mark.parametrize("read", [read_image, image_size])
def test_bad_files_are_named(tmp_path, content, read):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"bad\.jpg: "):
        read(path)
    with pytest.raises(ImageError, match=r"none\.jpg: No such file"):
        read(tmp_path / "none.jpg")


def test_finding_images(tmp_path, blocks):
    for name in ("b/2.PNG", "b/c/1.jpg", "a.png"):
        write_image((tmp_path / name).with_suffix(".png"), blocks)
        (tmp_path / name).with_suffix(".png").rename(tmp_path / name)
    (tmp_path / "b" / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    found = find_images([tmp_path / "b", tmp_path / "a.png", tmp_path / "b" / "2.PNG"])
    assert [path.name for path in found] == ["2.PNG", "1.jpg", "a.png"]
    with pytest.raises(ImageError, match="no images"):
        find_images([tmp_path / "empty"])
    with pytest.raises(ImageError, match="no such file"):
        find_images([tmp_path / "nowhere"])
