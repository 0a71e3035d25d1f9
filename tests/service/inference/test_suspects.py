"""What is remembered of images that engines died of; the clock is this test's."""

from service.inference.suspects import MAX_REMEMBERED, MOST_DEATHS, REMEMBERED_S, Suspects

PIXELS = b"deadly"
TARGET = ("toy", 1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_deaths_of_one_version_are_not_held_against_another_version_or_model():
    suspects = Suspects()
    for count in range(1, MOST_DEATHS + 1):
        assert suspects.note_death(TARGET, PIXELS) == count
    assert suspects.deaths(TARGET, PIXELS) == MOST_DEATHS
    assert suspects.deaths(("toy", 2), PIXELS) == 0
    assert suspects.deaths(("other", 1), PIXELS) == 0
    assert suspects.deaths(TARGET, b"innocent") == 0


def test_deaths_are_forgotten_after_a_while():
    clock = Clock()
    suspects = Suspects(clock)
    suspects.note_death(TARGET, PIXELS)
    clock.now = REMEMBERED_S - 1
    assert suspects.note_death(TARGET, PIXELS) == 2
    clock.now += REMEMBERED_S
    assert not suspects, "or the pixels of every image would be hashed for nothing"
    assert suspects.deaths(TARGET, PIXELS) == 0
    assert suspects.note_death(TARGET, PIXELS) == 1


def test_an_image_that_was_answered_is_suspected_no_more():
    suspects = Suspects()
    suspects.note_death(TARGET, PIXELS)
    suspects.acquit(TARGET, PIXELS)
    suspects.acquit(TARGET, b"never suspected")
    assert suspects.deaths(TARGET, PIXELS) == 0


def test_only_so_many_images_are_remembered():
    suspects = Suspects()
    suspects.note_death(TARGET, PIXELS)
    for i in range(MAX_REMEMBERED):
        suspects.note_death(TARGET, i.to_bytes(4, "little"))
    assert suspects.deaths(TARGET, PIXELS) == 0
    assert suspects.deaths(TARGET, (0).to_bytes(4, "little")) == 1
