from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from repositories import DataRepository, make_repository

from crossfold import __version__
from crossfold.errors import CrossfoldError
from crossfold.publishing.crate import write_crate
from tests.browser.tiny_run import RUN, make_run, publish

REPOSITORY = Path(__file__).parents[3]
# It holds rich at an earlier release than others here, so it has an environment of its own.
VALIDATOR = REPOSITORY / ".venv" / "roc-validator" / "bin" / "rocrate-validator"
CONTEXT = "https://w3id.org/ro/crate/1.1/context"
PROFILES = ("ro-crate-1.1", "process-run-crate-0.5")

Graph = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> DataRepository:
    """A published run with its images; only to be read."""
    repository = make_repository(tmp_path_factory.mktemp("crate") / "ours")
    root = repository.folder
    results = make_run(root)
    shutil.copytree(results.parents[1] / "data/tiny/images", results / "preprocessed")
    (results / "report.html").write_text("<p>Report")
    job: dict[str, Any] = {"started": 1.7e9, "ended": {"results/Tiny/metrics.csv": 1.7e9 + 90}}
    job |= {key: {} for key in ("outputs", "inputs", "script")}
    job |= {key: [] for key in ("repeated", "log", "params")}
    provenance: dict[str, Any] = {"format": 1, "snakemake_record_format": 6, "model": RUN}
    provenance["jobs"] = [{"rule": "pool_metrics"} | job]
    (results / "provenance.json").write_text(json.dumps(provenance))
    for name in ("CITATION.cff", "LICENSE"):
        shutil.copy2(REPOSITORY / name, root)
    section = {"source": "phantom", "description": "Spheres", "licence": "CC0"}
    (root / "config.yaml").write_text(yaml.safe_dump({"datasets": {"tiny": section}}))
    repository.git("remote", "add", "origin", "https://me:token@example.org/group/study.git")
    publish(root, left_out="folds/1", commit=repository.head)
    shutil.rmtree(results / "folds/1/posteriors")
    repository.git("add", "--force", "results/Tiny/MANIFEST.json")
    repository.commit("Publish")
    return repository


def export(repository: DataRepository, target: Path, **options: Any) -> Graph:
    write_crate(RUN, target, root=repository.folder, **options)
    return graph_of(target)


def graph_of(folder: Path) -> Graph:
    text = (folder / "ro-crate-metadata.json").read_text(encoding="utf-8")
    return {entity["@id"]: entity for entity in json.loads(text)["@graph"]}


def test_an_archive_finds_what_it_asks_for(published: DataRepository, tmp_path: Path) -> None:
    graph = export(published, tmp_path / "crate")
    root = graph["./"]
    assert root["name"] == "Tiny: Two <nested> spheres"
    assert root["license"] == {"@id": "https://spdx.org/licenses/MIT"}
    assert graph[root["author"]["@id"]]["name"] == "The Crossfold authors"
    assert root["version"] == __version__
    assert root["datePublished"] == published.git("log", "-1", "--format=%cI")
    assert (graph["#dataset"]["description"], graph["#dataset"]["license"]) == ("Spheres", "CC0")
    assert graph["#dataset"]["identifier"] == f"md5:{'d' * 32}.dir"
    action = graph[root["mentions"]["@id"]]
    instrument = graph[action["instrument"]["@id"]]
    assert (instrument["name"], instrument["version"]) == ("crossfold", "0.1.0")
    assert instrument["url"] == "https://example.org/group/study.git"
    assert (action["startTime"], action["endTime"]) == (
        "2023-11-14T22:13:20+00:00",
        "2023-11-14T22:14:50+00:00",
    )
    torch = {"@id": "https://pypi.org/project/torch/2.13.0/"}
    assert torch in instrument["softwareRequirements"]
    assert graph[torch["@id"]]["version"] == "2.13.0+cpu"
    assert (tmp_path / "crate/CITATION.cff").read_bytes() == (
        REPOSITORY / "CITATION.cff"
    ).read_bytes()


def test_files_are_whole_and_described(published: DataRepository, tmp_path: Path) -> None:
    graph = export(published, tmp_path / "crate")
    files = {name: entity for name, entity in graph.items() if entity["@type"] == "File"}
    there = {
        file.relative_to(tmp_path / "crate").as_posix()
        for file in (tmp_path / "crate").rglob("*")
        if file.is_file()
    }
    listed = {entity["name"] for entity in files.values()}
    assert listed == there - {"ro-crate-metadata.json"}
    for name in ("metrics.csv", "MANIFEST.json", "provenance.json", "report.html"):
        path = f"results/Tiny/{name}"
        assert (tmp_path / "crate" / path).read_bytes() == (published.folder / path).read_bytes()
        assert files[path]["contentSize"] == str((published.folder / path).stat().st_size)
    assert files["results/Tiny/metrics.csv"]["encodingFormat"] == "text/csv"
    assert files["results/Tiny/metrics.csv"]["identifier"].startswith("md5:")


def test_images_of_patients_only_when_asked_for(published: DataRepository, tmp_path: Path) -> None:
    without = export(published, tmp_path / "without")
    with_images = export(published, tmp_path / "with", with_images=True)
    more = {name.rpartition("/")[0] for name in with_images.keys() - without.keys()}
    assert more == {"data/tiny/images", "results/Tiny/preprocessed"}
    assert "data/tiny/dataset.csv" in without


def test_a_zip_file_holds_the_same(published: DataRepository, tmp_path: Path) -> None:
    export(published, tmp_path / "crate")
    write_crate(RUN, tmp_path / "crate.zip", root=published.folder)
    with zipfile.ZipFile(tmp_path / "crate.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "unpacked")
    assert graph_of(tmp_path / "unpacked").keys() == graph_of(tmp_path / "crate").keys()
    file = "results/Tiny/metrics.csv"
    assert (tmp_path / "unpacked" / file).read_bytes() == (published.folder / file).read_bytes()


def test_no_password_is_in_it(published: DataRepository, tmp_path: Path) -> None:
    export(published, tmp_path / "crate")
    assert "token" not in (tmp_path / "crate/ro-crate-metadata.json").read_text()


def test_the_package_reads_it_again(published: DataRepository, tmp_path: Path) -> None:
    from rocrate.rocrate import ROCrate

    export(published, tmp_path / "crate")
    crate = ROCrate(tmp_path / "crate")
    assert crate.name == "Tiny: Two <nested> spheres"
    assert all(
        (tmp_path / "crate" / entity.get("name")).is_file() for entity in crate.data_entities
    )


@pytest.fixture(scope="module")
def validator() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The validator of RO-Crates, and what it needs from the network, kept for the next time."""
    if not VALIDATOR.is_file():
        pytest.skip("`make setup-dev` installs the validator")
    memory = ("--cache-path", VALIDATOR.parents[1] / "pages")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [VALIDATOR, "--no-interactive", *arguments, *memory]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    known = CONTEXT in run("cache", "list", "--json").stdout
    if not known and run("cache", "warm", "--url", CONTEXT).returncode:
        pytest.skip(f"{CONTEXT} is not within reach")
    return run


@pytest.mark.parametrize("profile", PROFILES)
def test_the_validator_finds_nothing(
    published: DataRepository,
    tmp_path: Path,
    validator: Callable[..., subprocess.CompletedProcess[str]],
    profile: str,
) -> None:
    export(published, tmp_path / "crate")
    options = ("--profile-identifier", profile, "--requirement-severity", "recommended")
    done = validator("validate", "--offline", *options, tmp_path / "crate")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_altered_or_exists_is_refused(published: DataRepository, tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match="exists"):
        write_crate(RUN, tmp_path, root=published.folder)
    copy = shutil.copytree(published.folder, tmp_path / "copy")
    (copy / "results/Tiny/metrics.csv").write_text("")
    with pytest.raises(CrossfoldError, match=r"(?s)NOT as published.*metrics\.csv.*make pull"):
        write_crate(RUN, tmp_path / "crate", root=copy)
    assert not (tmp_path / "crate").exists()
    with pytest.raises(CrossfoldError, match="not published"):
        write_crate("Other", tmp_path / "crate", root=copy)


@pytest.mark.parametrize("key", ["title", "authors", "version", "license"])
def test_an_incomplete_citation_is_refused(
    published: DataRepository, tmp_path: Path, key: str
) -> None:
    copy = shutil.copytree(published.folder, tmp_path / "copy")
    citation = yaml.safe_load((copy / "CITATION.cff").read_text())
    del citation[key]
    (copy / "CITATION.cff").write_text(yaml.safe_dump(citation))
    with pytest.raises(CrossfoldError, match=rf"CITATION\.cff: {key} missing"):
        write_crate(RUN, tmp_path / "crate", root=copy)


def test_persons_are_persons(published: DataRepository, tmp_path: Path) -> None:
    copy = DataRepository(shutil.copytree(published.folder, tmp_path / "copy"))
    citation = yaml.safe_load((copy.folder / "CITATION.cff").read_text())
    orcid = "https://orcid.org/0000-0002-1825-0097"
    citation["authors"].append(
        {"given-names": "Ada", "family-names": "Lovelace", "orcid": orcid, "affiliation": "London"}
    )
    (copy.folder / "CITATION.cff").write_text(yaml.safe_dump(citation))
    person = export(copy, tmp_path / "crate")[orcid]
    assert (person["@type"], person["name"], person["affiliation"]) == (
        "Person",
        "Ada Lovelace",
        "London",
    )
