"""What a backbone reads is checked when a task is built, and the message says what to do."""

import pytest
from clips import TinySound, TinyVideo, tiny_multimodal
from nets import TinyNet

from pretext import Colorization, Contrast, Counting, Inpainting, Jigsaw, RelativePosition, SuperResolution
from pretext.core.types import axis, reads_images


class Asker:
    """Who asks; errors name it."""


def test_axes_are_counted_from_the_right():
    assert [axis(letter, TinyVideo(), Asker()) for letter in "thw"] == [-3, -2, -1]
    assert [axis(letter, TinyNet(), Asker()) for letter in "hw"] == [-2, -1]


def test_a_missing_axis_is_named():
    with pytest.raises(ValueError, match="Asker needs a backbone with an axis 'h', but TinySound reads 't'"):
        axis("h", TinySound(), Asker())
    with pytest.raises(ValueError, match=r"MultiModal reads several modalities; name one by wrapping .* pretext\.On"):
        axis("t", tiny_multimodal(), Asker())


@pytest.mark.parametrize(
    "task", [Colorization, Contrast, Counting, Inpainting, Jigsaw, RelativePosition, SuperResolution]
)
def test_an_image_task_on_clips_is_refused_when_it_is_built(task):
    with pytest.raises(ValueError, match=rf"{task.__name__} asks about images, but TinyVideo reads clips .*OnFrames"):
        task(TinyVideo())


def test_image_backbones_read_images():
    reads_images(TinyNet(), Asker())
    with pytest.raises(ValueError, match="needs a backbone with an axis 'h'"):
        reads_images(TinySound(), Asker())
