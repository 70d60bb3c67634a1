from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from crossfold.config.inheritance import resolve
from crossfold.config.loading import load_config
from crossfold.paper.catalogue import FIGURES
from tests.workflow.checkout import Checkout

REPOSITORY = Path(__file__).parents[2]
RULES = sorted((REPOSITORY / "rules").glob("*.smk"))
SCRIPTS = sorted((REPOSITORY / "scripts").glob("*.py"))
CONFIG = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
MODELS = CONFIG["models"]
CONCRETE = [name for name, model in MODELS.items() if not model.get("abstract")]
PER_MODEL = {
    "import_dataset",
    "write_config",
    "validate_dataset",
    "split_dataset",
    "preprocess_dataset",
    "ensemble_folds",
    "measure_ensemble",
    "pool_metrics",
    "summarise_metrics",
    "write_plan",
    "measure_posteriors",
    "compare_runs",
    "find_outliers",
    "inspect_annotations",
    "draw_thumbnails",
    "write_tables",
    "write_reporting",
    "write_report",
}
PER_FOLD = {"train_fold", "predict_fold", "measure_fold"}


def rule_blocks() -> dict[str, str]:
    blocks = {}
    for file in RULES:
        parts = re.split(r"^rule (\w+):\n", file.read_text(encoding="utf-8"), flags=re.M)
        blocks.update(zip(parts[1::2], parts[2::2], strict=True))
    return blocks


BLOCKS = rule_blocks()


def test_every_model_of_the_configuration_has_a_plan(real_data_checkout: Checkout) -> None:
    targets = [
        target.format(model)
        for model in CONCRETE
        for target in ("results/{}/metrics_summary.csv", "results/{}/report.html")
    ]
    run = real_data_checkout.snakemake("-n", *targets)
    assert run.code == 0, run.errors
    folds = {name: resolve(name, MODELS)["splits"]["folds"] for name in CONCRETE}
    datasets = {resolve(name, MODELS)["dataset"] for name in CONCRETE}
    expected = dict.fromkeys(PER_MODEL, len(CONCRETE)) | dict.fromkeys(
        PER_FOLD, sum(folds.values())
    )
    compared = load_config(CONFIG).compared_with
    expected["draw_figure"] = sum(
        (bool(compared(name)) or not figure.needs_comparison) and not figure.needs_epochs
        for name in CONCRETE
        for figure in FIGURES.values()
    )
    assert run.jobs == expected | {"import_dataset": len(datasets)}


def test_a_model_without_its_data_is_left_out_of_the_default_target(
    real_data_checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(real_data_checkout.variables, "CROSSFOLD_DATA")
    run = real_data_checkout.snakemake("-n")
    assert run.code == 0, run.errors
    assert "results/Prostate/report.html" in run.output
    assert "results/Hippocampus" not in run.output


@pytest.mark.parametrize("subjects", [10, 1000])
def test_the_number_of_jobs_does_not_grow_with_the_subjects(
    real_data_checkout: Checkout, subjects: int
) -> None:
    dataset = real_data_checkout.folder / "data" / "many"
    (dataset / "images").mkdir(parents=True, exist_ok=True)
    rows = [f"{number},ct,images/{number}.nii.gz\n" for number in range(subjects)]
    (dataset / "dataset.csv").write_text("subject,channel,filePath\n" + "".join(rows))
    overlay = real_data_checkout.write(
        "many.yaml",
        "datasets: {many: {source: folder, path: images, images: {ct: '{subject}.nii.gz'}}}\n"
        "models: {Many: {base: ProstateBase, dataset: many}}\n",
    )
    run = real_data_checkout.snakemake(
        "-n", "--configfile", overlay, "--", "results/Many/report.html"
    )
    assert run.code == 0, run.errors
    figures = [
        figure
        for figure in FIGURES.values()
        if not (figure.needs_comparison or figure.needs_epochs)
    ]
    assert sum(run.jobs.values()) == (
        5 * len(PER_FOLD) + len(PER_MODEL - {"import_dataset"}) + len(figures)
    )


def test_an_earlier_epoch_needs_no_other_training(real_data_checkout: Checkout) -> None:
    overlay = real_data_checkout.write(
        "often.yaml", "models: {Prostate: {training: {epochs: 6, checkpoints: {every: 2}}}}"
    )
    targets = [f"results/{run}/ensemble_metrics.csv" for run in ("Prostate@2", "Prostate")]
    run = real_data_checkout.snakemake("-n", "--configfile", overlay, "--", *targets)
    assert run.code == 0, run.errors
    assert run.jobs["train_fold"] == 5
    assert run.jobs["predict_fold"] == 10


@pytest.mark.parametrize("rule", BLOCKS)
def test_rule_script_and_log_have_one_name(rule: str) -> None:
    assert f'"../scripts/{rule}.py"' in BLOCKS[rule]
    assert f'"logs/{rule}/' in BLOCKS[rule]
    assert (REPOSITORY / "scripts" / f"{rule}.py").is_file()


def test_every_script_belongs_to_a_rule() -> None:
    # The rules that publish have a name for each model, given when they are read; predict_images
    # is a workflow of its own, azureml/predict.smk.
    assert {script.stem for script in SCRIPTS} == {*BLOCKS, "publish", "predict_images"}


@pytest.mark.parametrize("rule", BLOCKS)
def test_a_rule_reruns_when_the_code_behind_it_changes(rule: str) -> None:
    # Scripts of these rules do nothing but call pandas or json.
    if rule != "write_config":
        assert re.search(r"^        (code|version)=", BLOCKS[rule], re.M)


@pytest.mark.parametrize("rule", [rule for rule in BLOCKS if "conda:" in BLOCKS[rule]])
def test_a_rule_reruns_when_a_package_of_its_environment_changes(rule: str) -> None:
    environment = re.search(r'"\.\./envs/(\w+)\.yaml"', BLOCKS[rule])[1]
    assert f'        software=software_of("{environment}"),\n' in BLOCKS[rule]


def test_no_input_is_ancient() -> None:
    # Snakemake overlooks changed parameters behind such an input when it is made again.
    assert [file.name for file in RULES if "ancient(" in file.read_text(encoding="utf-8")] == []


def test_every_fingerprint_names_files_that_exist() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in RULES)
    names = re.findall(
        r'"([\w/]+(?:\.py)?)"', "".join(re.findall(r"fingerprint\w*\((.*?)\)", text, re.S))
    )
    assert len(names) > 10
    for name in names:
        assert (REPOSITORY / "crossfold" / name).exists(), name


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_scripts_are_thin(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    # What a script reads there is no trigger: a changed value would go unnoticed.
    assert "snakemake.config" not in text
    defined = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert not defined


def test_files_keep_their_budgets() -> None:
    assert len((REPOSITORY / "Snakefile").read_text(encoding="utf-8").splitlines()) < 60
    for file in RULES:
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 250, file
        assert not re.search(r"^    run:", file.read_text(encoding="utf-8"), re.M), file
