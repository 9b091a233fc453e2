"""Workers write a part each; joined, they are what one worker writes."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import streamed

from sgfd.export import join_features, stream_features


def written(model, folder, world, **options):
    for rank in range(world):
        options = {"chunk_size": streamed.CHUNK} | options
        stream_features(model, folder, part=(rank, world), **options)
    return folder / "parts"


def test_parts_of_two_processes_are_joined_to_what_one_writes(tmp_path):
    model = streamed.model(tmp_path)
    whole = stream_features(model, tmp_path / "one", chunk_size=streamed.CHUNK)
    command = [sys.executable, streamed.__file__, str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    workers = [
        subprocess.Popen(command, env=environment | {"RANK": str(rank)}) for rank in range(2)
    ]
    assert [worker.wait() for worker in workers] == [0, 0]

    joined = join_features(tmp_path / "out")

    assert joined.keys() == whole.keys()
    for m, path in joined.items():
        assert path == tmp_path / "out" / whole[m].name
        assert path.read_bytes() == whole[m].read_bytes()
    assert len(list((tmp_path / "out" / "parts").iterdir())) == 6  # they stay


@pytest.mark.parametrize("world", [1, 3, 7, 9])
def test_any_number_of_parts_makes_the_same_files(world, tmp_path):
    model = streamed.model(tmp_path)
    whole = stream_features(model, tmp_path / "one", pattern="F{modality}.npy")
    written(model, tmp_path / "out", world, pattern="F{modality}.npy")  # some of 9 are empty
    for m, path in join_features(tmp_path / "out").items():
        assert path.name == f"F{m}.npy"
        assert path.read_bytes() == whole[m].read_bytes()


def test_a_part_is_a_file_of_numpy_with_its_rows(tmp_path):
    model = streamed.model(tmp_path)
    parts = written(model, tmp_path / "out", 3)
    rows = [json.loads((parts / f"{rank}-of-3.json").read_text())["rows"] for rank in range(3)]
    assert rows == [[0, 32], [32, 64], [64, 110]]  # 2, 2 and 3 chunks
    expected = model.export(chunk_size=streamed.CHUNK)["image"][64:110].numpy()
    assert np.array_equal(np.load(parts / "image_feat.2-of-3.npy"), expected)


def test_the_same_parts_have_the_same_bytes(tmp_path):
    model = streamed.model(tmp_path)
    parts = [written(model, tmp_path / name, 2) for name in ("a", "b")]
    for path in parts[0].iterdir():
        assert path.read_bytes() == (parts[1] / path.name).read_bytes()


def test_parts_are_not_joined_until_all_are_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"parts holds no part: stream_features\("):
        join_features(tmp_path)
    parts = written(streamed.model(tmp_path), tmp_path / "out", 4)
    for rank in (1, 3):
        (parts / f"{rank}-of-4.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"all 4 parts; \[1, 3\] are not there"):
        join_features(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["parts"]


def test_a_part_of_another_run_is_refused_with_what_differs(tmp_path):
    parts = written(streamed.model(tmp_path), tmp_path / "out", 2)
    other = tmp_path / "other"
    other.mkdir()
    reasons = [
        ("run", streamed.model(tmp_path, seed=3), {}),  # other weights
        ("run", streamed.model(other, scale=2.0), {}),  # other features
        ("dtype", streamed.model(tmp_path), {"dtype": np.float64}),
        ("chunk_size", streamed.model(tmp_path), {"chunk_size": 8}),
        ("joined", streamed.model(tmp_path), {"pattern": "{modality}.npy"}),
    ]
    for reason, model, options in reasons:
        foreign = written(model, tmp_path / "foreign", 2, overwrite=True, **options)
        shutil.copytree(parts, tmp_path / "mixed" / "parts", dirs_exist_ok=True)
        for path in foreign.glob("*1-of-2*"):
            shutil.copy(path, tmp_path / "mixed" / "parts")
        with pytest.raises(ValueError, match=rf"1-of-2\.json must be .* differ in {reason}\."):
            join_features(tmp_path / "mixed")
        assert not (tmp_path / "mixed" / "image_feat.npy").exists()


def test_parts_of_two_splits_are_not_mixed(tmp_path):
    model = streamed.model(tmp_path)
    written(model, tmp_path / "out", 2)
    written(model, tmp_path / "out", 3)
    with pytest.raises(ValueError, match=r"they differ in world\. Remove .*parts"):
        join_features(tmp_path / "out")


def test_a_part_that_is_there_twice_is_refused(tmp_path):
    parts = written(streamed.model(tmp_path), tmp_path / "out", 2)
    shutil.copy(parts / "1-of-2.json", parts / "copy-of-2.json")
    with pytest.raises(ValueError, match=r"must hold each part once; got parts \[0, 1, 1\]"):
        join_features(tmp_path / "out")


def test_a_damaged_part_is_refused_and_its_file_not_written(tmp_path):
    parts = written(streamed.model(tmp_path), tmp_path / "out", 2)
    path = parts / "image_feat.1-of-2.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(ValueError, match="must have .* bytes, as its card says"):
        join_features(tmp_path / "out")
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="must have the checksum that its card says"):
        join_features(tmp_path / "out")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="is not there, and its card lists it"):
        join_features(tmp_path / "out")
    assert not (tmp_path / "out" / "image_feat.npy").exists()
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_card_without_its_entries_is_refused(tmp_path):
    parts = written(streamed.model(tmp_path), tmp_path / "out", 1)
    card = json.loads((parts / "0-of-1.json").read_text())
    del card["widths"]["text"]
    (parts / "0-of-1.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="must hold cards as stream_features writes them"):
        join_features(tmp_path / "out")


def test_files_that_are_there_are_kept_unless_told_otherwise(tmp_path):
    model = streamed.model(tmp_path)
    written(model, tmp_path / "out", 2)
    with pytest.raises(FileExistsError, match=r"0-of-2\..* exist: .*overwrite=True"):
        stream_features(model, tmp_path / "out", part=(0, 2))
    stream_features(model, tmp_path / "out", chunk_size=16, part=(0, 2), overwrite=True)
    (tmp_path / "out" / "text_feat.npy").write_text("kept")
    with pytest.raises(FileExistsError, match=r"text_feat\.npy exists"):
        join_features(tmp_path / "out")
    assert not (tmp_path / "out" / "image_feat.npy").exists()
    join_features(tmp_path / "out", overwrite=True)
    assert np.load(tmp_path / "out" / "text_feat.npy").shape == (streamed.ITEMS, 5)


def test_sizes_may_be_integers_of_numpy(tmp_path):
    model = streamed.model(tmp_path)
    parts = written(model, tmp_path / "out", 2, chunk_size=np.int64(streamed.CHUNK))
    assert json.loads((parts / "0-of-2.json").read_text())["chunk_size"] == streamed.CHUNK


def test_parts_that_do_not_meet_are_refused(tmp_path):
    parts = written(streamed.model(tmp_path), tmp_path / "out", 2)
    card = parts / "1-of-2.json"
    said = json.loads(card.read_text())
    said["rows"][0] += 1
    card.write_text(json.dumps(said))
    with pytest.raises(ValueError, match="must hold parts that meet, of every modality"):
        join_features(tmp_path / "out")
