"""The command line: what is asked for, what is refused, and with which exit code."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bids_cascade import __version__, cli
from bids_cascade.cli import configuration, parser, run
from bids_cascade.cli.options import LEVELS, OPTIONS, check_options, options_of
from bids_cascade.config import SEQUENCES, HeadsConfig, TrainingConfig
from bids_cascade.errors import MissingInputError, UsageError
from bids_cascade.models.store import PACKAGED_MODEL


def parse(*arguments: str):
    return cli.build_parser().parse_args(["bids", "out", *arguments])


def test_participants_with_and_without_prefix() -> None:
    options = parse("participant", "--participant_label", "sub-01", "02", "--session-label", "ses-a", "b")
    inputs = configuration.make_inputs(options)
    assert inputs.selection.participants == ("01", "02")
    assert inputs.selection.sessions == ("a", "b")
    assert inputs.validate
    assert not configuration.make_inputs(parse("participant", "--skip-bids-validation")).validate


def test_train_options_and_channel_order() -> None:
    config = configuration.make_train(
        parse("train", "--labels", "manual", "--sequences", "T2w", "FLAIR", "T1w", "--random-seed", "3")
    )
    assert config.cascade.sequences == ("T1w", "FLAIR", "T2w")
    assert config.training.seed == 3
    assert config.training == TrainingConfig(seed=3)
    assert config.heads is None
    assert tuple(sequence for sequence in SEQUENCES if sequence in config.cascade.sequences) == config.cascade.sequences


def test_how_long_and_on_what_to_train() -> None:
    few = ("--max-epochs", "3", "--crops-per-epoch", "40", "--validation-fraction", "0", "--half-precision")
    config = configuration.make_train(parse("train", "--labels", "m", *few))
    expected = TrainingConfig(max_epochs=3, crops_per_epoch=40, validation_fraction=0, half_precision=True)
    assert config.training == expected


def test_a_model_to_start_from() -> None:
    assert configuration.make_train(parse("train", "--labels", "m")).start_from is None
    adapted = configuration.make_train(
        parse("train", "--labels", "m", "--start-from", "a.safetensors", "--learning-rate", "5e-4")
    )
    assert adapted.start_from == Path("a.safetensors").absolute()
    assert adapted.training == TrainingConfig(learning_rate=5e-4)
    assert adapted.kept_fraction == 0
    half = configuration.make_train(
        parse("train", "--labels", "m", "--start-from", "default", "--kept-fraction", "0.5")
    )
    assert half.kept_fraction == 0.5
    assert (
        configuration.make_train(parse("train", "--labels", "m", "--start-from", "default")).start_from
        == PACKAGED_MODEL
    )


def test_synthetic_heads_to_train_on() -> None:
    sources = ("--label-maps", "/maps", "one.nii", "--lesion-masks", "/masks")
    heads = configuration.make_train(parse("train", "--labels", "m", *sources, "--random-seed", "5")).heads
    assert heads == HeadsConfig((Path("/maps"), Path("one.nii").absolute()), (Path("/masks"),), HeadsConfig.n_heads, 5)
    mixed = configuration.make_train(parse("train", "--labels", "m", *sources, "--synthetic-fraction", "0.2"))
    assert mixed.training == TrainingConfig(synthetic_fraction=0.2)
    free = configuration.make_train(parse("train", "--labels", "m", *sources, "--lesion-free-fraction", "0.1"))
    assert free.training == TrainingConfig(lesion_free_fraction=0.1)
    few = configuration.make_train(parse("train", "--labels", "m", *sources, "--n-heads", "7", "--sequences", "FLAIR"))
    assert few.heads
    assert few.heads.n_heads == 7
    all_held_out = configuration.make_train(parse("train", "--labels", "m", *sources, "--validation-fraction", "1"))
    assert all_held_out.training.validation_fraction == 1


def test_a_threshold_is_chosen_unless_it_is_given() -> None:
    assert configuration.make_train(parse("train", "--labels", "m")).choose_threshold
    given = configuration.make_train(parse("train", "--labels", "m", "--threshold", "0.4"))
    assert (given.choose_threshold, given.cascade.threshold) == (False, 0.4)


def test_folds() -> None:
    assert parse("train", "--cross-validate", "loo").cross_validate == 0
    options = parse("train", "--cross-validate", "5", "--fold", "2")
    assert (options.cross_validate, options.fold) == (5, 2)
    assert parse("train").cross_validate is None


ALIASES = [
    (("--nthreads", "3"), "nprocs", 3),
    (("--n_cpus", "3"), "nprocs", 3),
    (("--n-cpus", "3"), "nprocs", 3),
    (("--mem", "16000"), "mem_gb", 16.0),
    (("--mem-mb", "16000"), "mem_gb", 16.0),
    (("--mem_mb", "16G"), "mem_gb", 16.0),
    (("--mem-gb", "16"), "mem_gb", 16.0),
    (("--participant_label", "01"), "participant_label", ["01"]),
    (("--session_label", "a"), "session_label", ["a"]),
    (("--skip_bids_validation",), "skip_bids_validation", True),
    (("--nipype-plugin-file", "/p"), "use_plugin", Path("/p")),
    (("--model", "default"), "model", PACKAGED_MODEL),
]


@pytest.mark.parametrize(("words", "name", "value"), ALIASES)
def test_names_and_units_are_those_of_fmriprep(words, name, value) -> None:
    assert getattr(parser.parse(["bids", "out", "participant", *words]), name) == value


@pytest.mark.parametrize(
    "words",
    [
        "--participant-label 01 02 bids out participant",
        "--skip-bids-validation --participant-label 01 02 bids out participant -v",
        "bids out participant --participant-label 01 02",
        "-w work bids out participant --participant-label 01 02",
        "--participant-label 01 02 -- bids out participant",
    ],
)
def test_options_may_precede_the_folders(words: str) -> None:
    options = parser.parse(words.split())
    folders = (options.bids_dir, options.output_dir, options.analysis_level)
    assert folders == (Path("bids").absolute(), Path("out").absolute(), "participant")
    assert options.participant_label == ["01", "02"]


def test_every_level_takes_its_own_options_and_no_other() -> None:
    everything = {option.dest: option for options in OPTIONS.values() for option in options}
    for level in LEVELS:
        own = {option.dest for option in options_of(level)}
        check_options(level, own)
        required = {name for name, option in everything.items() if level in option.required}
        for name in everything.keys() - own:
            with pytest.raises(UsageError, match=f"the {level} level has no --{name.replace('_', '-')} "):
                check_options(level, {*required, name})


def test_defaults_are_those_of_the_parser() -> None:
    words = ["bids", "out", "participant"]
    assert parser.parse(words) == cli.build_parser().parse_args(words)


def test_help_of_one_level_leaves_out_the_others(capsys) -> None:
    for words, shown, hidden in (
        (["group", "--help"], "bids-cascade data/ out/ group", "--threshold"),
        (["data", "out", "evaluate", "-h"], "--predictions", "--sequences"),
        (["--help"], "[participant, train]", "--no-such"),
    ):
        with pytest.raises(SystemExit):
            parser.parse(words)
        text = capsys.readouterr().out
        assert shown in " ".join(text.split())
        assert hidden not in text


def test_version(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"bids_cascade {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["in"], 64, "required: output_dir"),
        (
            ["{bids}", "{out}", "particpant"],
            17,
            "no analysis level `particpant`; expected one of participant, longitudinal, group, train",
        ),
        (["{bids}", "{out}", "participant", "--treshold", "1"], 64, "unrecognized arguments: --treshold"),
        (
            ["{bids}", "{out}", "participant", "--threshold", "1.5"],
            64,
            "probability above 0 and at most 1, found `1.5`",
        ),
        (["{bids}", "{out}", "participant", "--threshold", "nan"], 64, "found `nan`"),
        (["{bids}", "{out}", "participant", "--nprocs", "0"], 64, "whole number above 0, found `0`"),
        (["{bids}", "{out}", "participant", "--mem-gb", "-1"], 64, "number above 0, found `-1`"),
        (["{bids}", "{out}", "participant", "--min-lesion-volume-mm3", "x"], 64, "not negative, found `x`"),
        (["{bids}", "{out}", "participant", "--device", "gpu"], 64, "expected auto, cpu, cuda or cuda:N"),
        (["{bids}", "{out}", "train"], 64, "train needs --labels"),
        (
            ["{bids}", "{out}", "group", "--threshold", "0.3", "--device", "cuda"],
            64,
            "the group level has no --threshold (participant, train),",
        ),
        (["{bids}", "{out}", "participant", "--labels", "m"], 64, "the participant level has no --labels (train, eval"),
        (["{bids}", "{out}", "evaluate", "--sequences", "T1w", "FLAIR"], 64, "has no --sequences (train)"),
        (["{bids}", "{out}", "evaluate", "--random-seed", "0", "--device", "auto"], 64, "has no --device (part"),
        (["{bids}", "{out}", "train", "--labels", "m", "--n-heads", "5"], 64, "--n-heads needs --label-maps"),
        (["{bids}", "{out}", "participant", "--particip", "01"], 64, "did you mean --participant-label?"),
        (["{bids}", "{out}", "participant", "--mem", "16X"], 64, "or one with the unit K, M, G or T, found `16X`"),
        (
            ["{bids}", "--participant-label", "01", "{out}", "participant"],
            64,
            "come first: --participant-label, --participant_label take all words that follow",
        ),
        (["{bids}", "{out}", "train", "--labels", "m", "--model-name", "../x"], 64, "expected a name"),
        (["{bids}", "{out}", "train", "--labels", "m", "--model-name", ""], 64, "expected a name"),
        (["{bids}", "{out}", "train", "--labels", "m", "--model-name", ".x"], 64, "expected a name"),
        (["{bids}", "{out}", "train", "--labels", "m", "--model-name", "a\n"], 64, "expected a name"),
        (["{bids}", "{out}", "train", "--labels", " "], 64, "of a derivative dataset, found nothing"),
        (["{bids}", "{out}", "participant", "--participant-label", "../01"], 64, "expected a label of letters"),
        (["{bids}", "{out}", "participant", "--participant-label", "sub-"], 64, "expected a label of letters"),
        (["{bids}", "{out}", "group", "--session-label", "a/b"], 64, "expected a label of letters"),
        (["{bids}", "{out}", "participant", "--model", ""], 64, "expected a path, found nothing"),
        (["{bids}", "{out}", "participant", "--bids-database-dir", ""], 64, "expected a path, found nothing"),
        (["{bids}", "{out}", "evaluate"], 64, "evaluate needs --labels"),
        (["{bids}", "{out}", "train", "--labels", "m", "--fold", "1"], 64, "--fold needs --cross-validate"),
        (["{bids}", "{out}", "train", "--patience", "3"], 64, "unrecognized arguments: --patience 3"),
        (["{bids}", "{out}", "train", "--crops-per-epoch", "0"], 64, "expected a whole number above 0, found `0`"),
        (
            ["{bids}", "{out}", "train", "--labels", "m", "--validation-fraction", "1"],
            64,
            "only with --label-maps may it be 1",
        ),
        (
            ["{bids}", "{out}", "train", "--labels", "m", "--kept-fraction", "0.5"],
            64,
            "--kept-fraction needs --start-from",
        ),
        (
            ["{bids}", "{out}", "train", "--labels", "m", "--label-maps", "x"],
            64,
            "--label-maps needs --lesion-masks",
        ),
        (
            ["{bids}", "{out}", "train", "--labels", "m", "--lesion-masks", "x"],
            64,
            "--lesion-masks needs --label-maps",
        ),
        (
            [
                *("{bids}", "{out}", "train", "--labels", "m", "--label-maps", "x", "--lesion-masks", "x"),
                *("--sequences", "FLAIR", "T2w"),
            ],
            64,
            "--sequences FLAIR T2w: synthetic heads have T1w and FLAIR only",
        ),
        (
            ["{bids}", "{out}", "train", "--labels", "m", "--cross-validate", "all"],
            64,
            "expected loo or a whole number above 1, found `all`",
        ),
        (
            ["{bids}", "{out}", "group", "--list-participants", "all"],
            64,
            "the group level has no --list-participants (participant)",
        ),
        (["{bids}", "{out}", "train", "--labels", "m", "--sequences", "T1w"], 64, "--sequences needs FLAIR"),
        (
            ["{bids}", "{out}", "participant", "--bids-filter-file", "none.json"],
            66,
            "none.json: there is no such filter file",
        ),
        (
            ["{bids}", "{out}", "participant", "--model", "none.safetensors"],
            66,
            "none.safetensors: there is no such model file",
        ),
        (["{bids}", "{out}", "participant", "--work-dir", "{bids}/work"], 64, "lies inside the input dataset"),
        (["{bids}", "{out}", "participant", "--work-dir", "{file}/work"], 73, "can't write to the work folder"),
        (["{bids}/none", "{out}", "participant"], 16, "none"),
        (["{out}", "{out}/results", "participant"], 16, "dataset_description.json"),
        (["{bids}", "{bids}", "participant"], 73, "is the input dataset, or lies inside or around it"),
        (["{bids}", "{out}", "participant", "--participant-label", "99"], 18, "99"),
    ],
)
def test_each_error_is_one_line_with_its_exit_code(tmp_path: Path, capsys, arguments, code, message) -> None:
    bids, out, file = tmp_path / "bids", tmp_path / "out", tmp_path / "file"
    (bids / "sub-01" / "anat").mkdir(parents=True)
    (bids / "derivatives" / "m").mkdir(parents=True)
    for suffix in ("T1w", "FLAIR"):
        (bids / "sub-01" / "anat" / f"sub-01_{suffix}.nii.gz").touch()
    (bids / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    out.mkdir()
    file.touch()
    work = [] if {"--work-dir", "group"} & set(arguments) else ["--work-dir", str(tmp_path / "work")]
    filled = [argument.format(bids=bids, out=out, file=file) for argument in arguments]
    assert cli.main([*filled, *(work if len(filled) > 2 else [])]) == code
    said = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in said if line.startswith("bids_cascade: error: ")]
    assert len(errors) == 1
    assert message in errors[0]


@pytest.mark.parametrize("content", ["{", "[]", '{"t1w": 3}'])
def test_bad_filter_files(tmp_path: Path, content: str) -> None:
    path = tmp_path / "filter.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"filter\.json"):
        configuration._read_filters(path)


def test_a_filter_file_that_is_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "filter.json")
    with pytest.raises(UsageError, match=r"the filter file .*filter\.json is a named pipe"):
        configuration._read_filters(tmp_path / "filter.json")


def test_good_filter_file(tmp_path: Path) -> None:
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"flair": {"acquisition": "3D"}}))
    assert configuration._read_filters(path) == {"flair": {"acquisition": "3D"}}


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from bids_cascade import cli; cli.build_parser().format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "nipype", "bids", "ants", "numpy", "nibabel", "pandas"} & set(loaded)
    done = subprocess.run([sys.executable, "-m", "bids_cascade", "--help"], capture_output=True, text=True, check=True)
    assert "{participant,longitudinal,group,train,evaluate,synthesize}" in done.stdout


@pytest.mark.parametrize(
    ("folder", "options", "code"),
    [
        ("nowhere", ["participant", "-w", "work"], 16),
        ("data", ["evaluate", "--labels", "nowhere"], 66),
        ("data", ["evaluate", "--labels", "manual", "--predictions", "nowhere"], 66),
        ("data", ["train", "--labels", "nowhere", "-w", "work"], 66),
    ],
)
def test_what_is_mistyped_is_refused_before_anything_starts(
    tmp_path: Path, folder: str, options: list[str], code: int
) -> None:
    (tmp_path / "data" / "derivatives" / "manual").mkdir(parents=True)
    description = {"Name": "data", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (tmp_path / "data" / "dataset_description.json").write_text(json.dumps(description))
    before = sorted(tmp_path.rglob("*"))
    options = [str(tmp_path / folder), str(tmp_path / "out"), *options]
    program = f"import sys; from bids_cascade import cli; print(cli.main({options!r}), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    exit_code, *loaded = done.stdout.split()
    assert exit_code == str(code)
    assert "no such folder" in done.stderr
    assert "nowhere" in done.stderr
    assert not {"torch", "nipype", "bids", "ants", "numpy", "nibabel", "pandas"} & set(loaded)
    assert sorted(tmp_path.rglob("*")) == before


def test_output_that_can_not_be_written_is_no_bug(monkeypatch, tmp_path: Path, capfd) -> None:
    def fail(*_: object) -> int:
        raise OSError(28, "No space left")

    monkeypatch.setattr(run, "_run_level", fail)
    monkeypatch.setattr(sys, "stdout", (tmp_path / "said").open("w"))
    assert cli.main([str(tmp_path), str(tmp_path / "out"), "group"]) == 74
    words = capfd.readouterr().err
    assert "please report" not in words
    assert "No space left" in words


def test_a_warning_comes_once(capsys) -> None:
    run._set_up_logging(0)
    for text in ("sub-0_1 is ignored", "sub-0_1 is ignored", "sub-0_2 is ignored"):
        logging.getLogger("bids_cascade.dataset").warning(text)
    for _ in range(2):
        logging.getLogger("bids_cascade.dataset").info("going on")
    said = [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ["WARNING sub-0_1 is ignored", "WARNING sub-0_2 is ignored", "INFO going on", "INFO going on"]


def test_a_terminal_that_closes_ends_the_app_and_nohup_does_not(monkeypatch, tmp_path: Path) -> None:
    def hang_up(*_: object) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        return 3

    monkeypatch.setattr(run, "_run_level", hang_up)
    before = {one: signal.getsignal(one) for one in (signal.SIGHUP, signal.SIGTERM)}
    try:
        for handler, code in ((signal.SIG_DFL, 130), (signal.SIG_IGN, 3)):
            signal.signal(signal.SIGHUP, handler)
            assert cli.main([str(tmp_path), str(tmp_path / "out"), "group"]) == code
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def test_a_derivative_is_found_from_where_the_app_was_started(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "bids" / "derivatives" / "there").mkdir(parents=True)
    cases = {"here": str(tmp_path / "here"), "there": "there", None: None}
    for given, expected in cases.items():
        assert configuration.located(given, tmp_path / "bids") == expected
    with pytest.raises(MissingInputError, match="no such folder"):
        configuration.located("nowhere", tmp_path / "bids")
    assert parse("train", "--labels", "folder/here").labels == str(tmp_path / "folder" / "here")
