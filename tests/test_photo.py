"""Pictures as people have them."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from handpose import photo
from handpose.photo import read_photo

RED, GREEN = (200, 10, 20), (10, 180, 30)


def halves(mode="RGB", size=(40, 24)):
    """Left red, right green."""
    picture = Image.new("RGB", size, GREEN)
    picture.paste(RED, (0, 0, size[0] // 2, size[1]))
    return picture.convert(mode)


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def saved(tmp_path, picture, name, **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("name, options", [
    ("a.png", {}), ("a.bmp", {}), ("a.webp", {"lossless": True}), ("a.tif", {}), ("a.ppm", {}),
    ("a.jpg", {"quality": 98, "subsampling": 0}),
])  # fmt: skip
def test_common_files_give_their_colours(tmp_path, name, options):
    image = read_photo(saved(tmp_path, halves(), name, **options))
    assert image.shape == (24, 40, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(image[5, 5], RED, atol=4)
    np.testing.assert_allclose(image[20, 35], GREEN, atol=4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(tmp_path, orientation):
    """The file holds the picture lying down; what is read is what a viewer shows."""
    upright = np.zeros((20, 32, 3), np.uint8)
    upright[:8, :16] = 255
    lying = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }  # fmt: skip
    stored = np.ascontiguousarray(lying[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(stored), "a.jpg", exif=exif, quality=95)
    np.testing.assert_allclose(read_photo(path).astype(int), upright, atol=60)


def test_what_is_transparent_becomes_white(tmp_path):
    picture = halves("RGBA")
    picture.putpixel((0, 0), (*RED, 0))
    image = read_photo(saved(tmp_path, picture, "a.png"))
    assert tuple(image[0, 0]) == (255, 255, 255) and tuple(image[1, 1]) == RED
    grey = Image.fromarray(np.full((4, 4), 90, np.uint8)).convert("LA")
    grey.putpixel((0, 0), (90, 0))
    image = read_photo(saved(tmp_path, grey, "b.png"))
    assert tuple(image[0, 0]) == (255, 255, 255) and tuple(image[3, 3]) == (90, 90, 90)


def test_a_palette_keeps_its_colours_and_its_transparency(tmp_path):
    picture = halves().quantize(4)
    image = read_photo(saved(tmp_path, picture, "a.png"))
    assert tuple(image[0, 0]) == RED and tuple(image[0, -1]) == GREEN
    image = read_photo(saved(tmp_path, picture, "b.png", transparency=picture.getpixel((0, 0))))
    assert tuple(image[0, 0]) == (255, 255, 255) and tuple(image[0, -1]) == GREEN


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_of_16_bits_the_upper_8_are_kept(tmp_path, name):
    values = np.array([[0, 255, 256], [32768, 65535, 4660]], np.uint16)
    image = read_photo(saved(tmp_path, Image.fromarray(values), name))
    assert np.array_equal(image, np.repeat((values >> 8)[..., None], 3, 2))


def test_grey_bits_and_printers_colours(tmp_path):
    assert tuple(read_photo(saved(tmp_path, Image.new("L", (4, 4), 77), "a.jpg"))[0, 0]) == (77, 77, 77)
    assert set(np.unique(read_photo(saved(tmp_path, halves("1"), "b.png")))) <= {0, 255}
    image = read_photo(saved(tmp_path, halves("CMYK"), "c.jpg", quality=98))
    np.testing.assert_allclose(image[5, 5], RED, atol=12)


def test_of_an_animation_the_first_picture_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    image = read_photo(saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:]))
    np.testing.assert_allclose(image[0, 0], RED, atol=2)


def refused(path):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        read_photo(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_what_is_no_picture_is_said_in_one_line(tmp_path):
    path = tmp_path / "a.jpg"
    assert "is missing" in refused(path)
    assert "is not a file" in refused(tmp_path)
    path.write_bytes(b"")
    assert "is empty" in refused(path)
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")  # would start another program
    assert "is no picture in a known format (JPEG, PNG" in refused(path)
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert "is a HEIC picture: save it as JPEG or PNG first" in refused(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    data = encoded(noise, kind)
    (tmp_path / "a").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "a")


def test_values_that_are_no_colours_are_refused(tmp_path):
    assert "no colours to show (mode F)" in refused(saved(tmp_path, Image.fromarray(np.ones((4, 4), np.float32)), "a.tif"))
    assert "more than 16 bits" in refused(saved(tmp_path, Image.fromarray(np.full((4, 4), 70000, np.int32)), "b.tif"))


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(encoded(Image.new("1", (12000, 9000)), "PNG"))
    monkeypatch.setattr(photo, "_as_rgb", lambda picture: pytest.fail("decoded"))
    assert "has more than 80 million pixels" in refused(path)
    header = encoded(Image.new("1", (8, 8)), "BMP")
    size = np.array([100_000, 100_000], "<i4").tobytes()
    (tmp_path / "a.bmp").write_bytes(header[:18] + size + header[26:])
    assert "has more than 80 million pixels" in refused(tmp_path / "a.bmp")


SEEDS = [encoded(halves(), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF")]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=8), st.integers(0, 700))
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, data, changes, end):
    data = bytearray(data)
    for place, value in changes:
        data[place % len(data)] = value
    path = tmp_path / "damaged"
    path.write_bytes(data[: max(end, 1)] if end < 600 else data)
    try:
        image = read_photo(path)
    except ValueError as error:
        assert "\n" not in str(error) and str(error).startswith(str(path))
    else:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


def test_names_that_the_system_refuses_are_said(tmp_path, monkeypatch):
    assert "can't be looked at" in refused(tmp_path / ("a" * 300))
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, halves(), "~nobody.png")
    assert read_photo("~nobody.png").shape == (24, 40, 3)
