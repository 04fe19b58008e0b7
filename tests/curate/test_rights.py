import pytest

from curate.config_assets import RightsConfig
from curate.rights import is_allowed, spdx, tags_in


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("by", "CC-BY-4.0"),
        ("by-nc-sa", "CC-BY-NC-SA-4.0"),
        ("cc0", "CC0-1.0"),
        ("CC0-1.0", "CC0-1.0"),
        ("Creative Commons - Attribution - Non-Commercial", "CC-BY-NC-4.0"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("CC-BY-SA-3.0", "CC-BY-SA-3.0"),
        ("http://creativecommons.org/licenses/by-nd/4.0/", "CC-BY-ND-4.0"),
        ("CC-BY-4.0 (https://creativecommons.org/licenses/by/4.0/)", "CC-BY-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("MIT License", "MIT"),
        ("Sketchfab Standard", "Sketchfab Standard"),
        (" Unknown ", ""),
        ("", ""),
    ],
)
def test_names_become_spdx_ids(stated: str, expected: str) -> None:
    assert spdx(stated) == expected


ANY = RightsConfig()
FREE = RightsConfig(licences_allow=("CC0-1.0", "cc-by-*", "MIT"), unknown="reject")
NO_NC = RightsConfig(licences_deny=("CC-BY-NC*",))
BY_NAME = RightsConfig(licences_allow=("by",))  # Objaverse's name in the list


@pytest.mark.parametrize(
    ("stated", "rights", "allowed"),
    [
        ("anything at all", ANY, True),
        ("", ANY, True),
        ("", FREE, False),
        ("unknown", FREE, False),
        ("by", FREE, True),
        ("mit", FREE, True),
        ("Apache-2.0", FREE, False),
        ("by-nc", FREE, True),  # CC-BY-* takes it in: patterns say what they say
        ("by-nc", NO_NC, False),
        ("by-nc-sa", NO_NC, False),
        ("by-sa", NO_NC, True),
        ("unknown", NO_NC, True),
        ("CC-BY-4.0", BY_NAME, True),
        ("CC-BY-3.0", BY_NAME, False),
        ("GPL-3.0-only OR MIT", FREE, True),
        ("GPL-3.0-only AND MIT", FREE, False),
        ("MIT AND CC0-1.0", FREE, True),
        ("(GPL-3.0-only OR MIT) AND CC0-1.0", FREE, False),  # all that is named must be allowed
        ("MIT WITH some-exception", FREE, True),
        ("CC-BY-4.0 (https://creativecommons.org/licenses/by/4.0/)", FREE, True),
    ],
)
def test_lists_say_what_may_be_taken(stated: str, rights: RightsConfig, allowed: bool) -> None:
    assert is_allowed(stated, rights) is allowed


def test_a_denied_licence_is_denied_though_it_is_allowed_too() -> None:
    both = RightsConfig(licences_allow=("CC-BY-*",), licences_deny=("CC-BY-ND-*",))
    assert is_allowed("by", both)
    assert not is_allowed("by-nd", both)


def test_tags_are_whole_words_in_any_case() -> None:
    assert tags_in("Robot; NSFW ;car", ("nsfw", "gore")) == ["nsfw"]
    assert tags_in("nsfwish;robot", ("nsfw",)) == []
    assert tags_in("", ("nsfw",)) == []
