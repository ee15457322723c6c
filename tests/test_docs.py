"""Undocumented means failing: every setting, command, service key, error and table stands in the docs."""

import re
from dataclasses import fields as fields_of
from pathlib import Path

import pytest

from windmill import catalog, cli, errors, settings
from windmill.commands import models
from windmill.core import fields
from windmill.services import registry
from windmill.services.weights import manifest

ROOT = Path(__file__).parents[1]
DOCS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")]


def text(name):
    return (ROOT / name).read_text("utf-8")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_is_in_the_manual(command):
    assert f"`windmill {command}" in text("docs/usage.md")


@pytest.mark.parametrize("action", models.ACTIONS)
def test_every_action_on_models_is_in_the_manual(action):
    assert f"| `windmill models {action}" in text("docs/models.md")


@pytest.mark.parametrize("name", [one.name for one in manifest().values() if one.source.kind == "file"])
def test_what_a_user_must_bring_is_in_the_manual(name):
    assert f"| `{name}` |" in text("docs/models.md")


@pytest.mark.parametrize("service", catalog.BUILT_IN)
def test_every_service_is_in_the_contract_or_the_list_of_services(service):
    assert re.search(rf"\b{service}\b", text("docs/service-api.md") + text("docs/services.md"))


@pytest.mark.parametrize("name", registry.SERVICES)
def test_every_reference_service_has_a_row(name):
    assert f"| `{name}` |" in text("docs/services.md")


@pytest.mark.parametrize("key", catalog.KEYS)
def test_every_key_of_an_entry_is_explained(key):
    assert f"`{key}`" in text("docs/services.md")


def test_every_setting_has_a_comment_above_it():
    lines = text(".env.example").splitlines()
    for field in fields_of(settings.Settings):
        place = next(n for n, line in enumerate(lines) if line.startswith(f"#{field.name.upper()}="))
        block = lines[:place][::-1]
        assert any(line.startswith("# ") for line in block[:6]), field.name


@pytest.mark.parametrize(
    "table", re.findall(r"CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (\w+)", text("schema.sql"))
)
def test_every_table_and_view_is_in_the_manual(table):
    assert f"`{table}`" in text("docs/usage.md")


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, one in vars(errors).items()
        if getattr(one, "verdict", None) in (errors.Verdict.AGAIN, errors.Verdict.BURY)
        and name
        not in ("ServiceError", "BrokerError", "StoreUnavailable")  # a base, and what no job is given up for
    ],
)
def test_every_error_that_a_job_is_given_up_for_is_in_the_manual(name):
    assert f"`{name}`" in text("docs/usage.md")


@pytest.mark.parametrize("name", fields.FIELDS)
def test_every_field_of_a_condition_has_its_row(name):
    field = fields.FIELDS[name]
    asked = "<br>".join(f"`{example}`" for example in field.examples)
    assert f"| `{name}` | {field.about} | {asked} |" in text("docs/search.md")


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_first_screen_says_what_it_is_and_names_two_commands():
    first = text("README.md").splitlines()
    assert "images" in first[0]
    screen = "\n".join(first[:40])
    assert "make demo" in screen
    assert "make test" in screen
    assert "![" in screen
