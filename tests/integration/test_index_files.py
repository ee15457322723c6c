"""The index in files: what was put in is found again, whatever was merged, replaced, deleted or cut short."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest

from windmill.errors import ConfigError, IndexDamaged, OtherEmbedder, StoreError, StoreUnavailable
from windmill.index.files import ann, create, merge, open_index, repair, verify
from windmill.index.files.compaction import Compaction
from windmill.index.files.layout import Layout
from windmill.index.vectors import Embedder, Vectors
from windmill.model import Numbering

EMBEDDER = Embedder(service="clip", name="ViT-B-32", version="1", dimension=32)
KINDS = {ann.FLAT: (10_000, 1 << 28), ann.HNSW: (100, 1 << 28), ann.IVF: (100, 1 << 17)}  # few, bytes


class Silent:
    def update(self, done, total=None):
        """Nobody looks."""


def unit(count, seed=0, dimension=32):
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def vectors(ids, seed=0, name="photo"):
    ids = np.array(ids, np.int64)
    return Vectors(ids=ids, paths=[f"/{name}/{n}.jpg" for n in ids], embeddings=unit(len(ids), seed))


@pytest.fixture
def prefix(tmp_path):
    return tmp_path / "photos"


@pytest.fixture
def store(prefix):
    return create(prefix, EMBEDDER, Numbering.CONTENT)


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch):
    few, most = KINDS[request.param]
    monkeypatch.setattr(ann, "_FEW", few)
    monkeypatch.setattr(ann, "_BYTES", most)
    return request.param


def test_every_image_is_found_by_its_own_vector(prefix, store, kind):
    given = vectors(np.random.default_rng(1).choice(2**62, 1500, replace=False))
    store.upsert(given)
    assert all(
        store.search(vector, 1)[0].image_id == n
        for n, vector in zip(given.ids, given.embeddings, strict=True)
    )
    merge(prefix, Silent())
    assert store.view().meta.tuning.kind == kind
    for image_id, path, vector in zip(given.ids, given.paths, given.embeddings, strict=True):
        (hit,) = store.search(vector, 1)
        assert (hit.image_id, hit.path) == (image_id, path)
        assert hit.score == pytest.approx(1, abs=1e-5)
    assert verify(prefix, Silent()) == []


def test_a_search_among_few_images_looks_at_these_alone(prefix, store, kind):
    given = vectors(range(3000))
    store.upsert(given)
    merge(prefix, Silent())
    store.upsert(vectors(range(3000, 3100), seed=5))
    rng = np.random.default_rng(2)
    for count in (1, 20, 1500):
        among = np.sort(rng.choice(3100, count, replace=False)).astype(np.int64)
        hits = store.search(unit(1, seed=9)[0], 10, among)
        assert {hit.image_id for hit in hits} <= set(among.tolist())
        assert len(hits) == min(10, count)


def test_files_can_be_read_by_whoever_knows_parquet_and_faiss(prefix, store):
    import faiss

    given = vectors([7, 3, 2**62])
    store.upsert(given)
    merge(prefix, Silent())
    table = pq.read_table(f"{prefix}.parquet")
    assert table.column_names == ["image_id", "path", "embedding", "model", "created"]
    assert table.column("image_id").to_pylist() == [3, 7, 2**62]
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[32]"
    _, found = faiss.read_index(f"{prefix}.faiss").search(given.embeddings, 1)
    assert found[:, 0].tolist() == [7, 3, 2**62]
    meta = json.loads((prefix.parent / "photos.meta.json").read_text())
    assert (meta["model"], meta["version"], meta["dimension"], meta["count"]) == ("ViT-B-32", "1", 32, 3)


def test_a_segment_is_a_parquet_file_and_a_faiss_file_with_the_same_ids(prefix, store):
    import faiss

    store.upsert(vectors([5, 9]))
    assert sorted(path.name for path in (prefix / "segments").iterdir()) == ["1.faiss", "1.parquet"]
    index = faiss.read_index(str(prefix / "segments" / "1.faiss"))
    assert faiss.vector_to_array(index.id_map).tolist() == [5, 9]


@pytest.mark.parametrize("merged", [False, True])
def test_what_comes_later_counts(prefix, store, merged):
    store.upsert(vectors([1, 2, 3]))
    if merged:
        merge(prefix, Silent())
    store.upsert(vectors([2], seed=3, name="newer"))
    assert store.count() == 3
    assert store.fetch(np.array([2], np.int64)).paths == ["/newer/2.jpg"]
    assert store.search(unit(1, seed=3)[0], 1)[0].path == "/newer/2.jpg"
    merge(prefix, Silent())
    assert store.count() == 3
    assert store.fetch(np.array([2], np.int64)).paths == ["/newer/2.jpg"]


@pytest.mark.parametrize("merged", [False, True])
def test_what_is_deleted_is_found_no_more_and_may_come_again(prefix, store, merged):
    store.upsert(vectors([1, 2, 3]))
    if merged:
        merge(prefix, Silent())
    store.delete(np.array([2, 99], np.int64))
    assert [hit.image_id for hit in store.search(unit(3)[1], 3)] in ([1, 3], [3, 1])
    assert merge(prefix, Silent()).count == 2
    assert pq.read_table(f"{prefix}.parquet").column("image_id").to_pylist() == [1, 3]
    store.upsert(vectors([2]))
    assert store.count() == 3


def test_an_index_may_become_empty(prefix, store):
    store.upsert(vectors([1]))
    store.delete(np.array([1], np.int64))
    assert merge(prefix, Silent()).count == 0
    assert store.search(unit(1)[0], 5) == []
    assert store.search(unit(1)[0], 5, np.array([1], np.int64)) == []
    assert verify(prefix, Silent()) == []


def test_a_merge_without_news_changes_nothing(prefix, store):
    store.upsert(vectors([1]))
    merge(prefix, Silent())
    before = {path.name: path.stat().st_mtime_ns for path in prefix.parent.glob("photos.*")}
    assert merge(prefix, Silent()).segments == 0
    assert {path.name: path.stat().st_mtime_ns for path in prefix.parent.glob("photos.*")} == before


def test_more_segments_than_can_be_open_at_once_are_merged_in_turns(prefix, store):
    for number in range(150):
        store.upsert(vectors([number, 1000], seed=number))
    done = merge(prefix, Silent())
    assert (done.count, done.segments) == (151, 150)
    newest = store.fetch(np.array([1000], np.int64))
    assert np.array_equal(newest.embeddings[0], unit(2, seed=149)[1])


def test_other_processes_see_what_is_added_and_merged(prefix, store):
    reader = open_index(prefix)
    assert reader.count() == 0
    store.upsert(vectors([1, 2]))
    assert reader.count() == 2
    merge(prefix, Silent())
    store.upsert(vectors([3]))
    assert reader.count() == 3


def test_numbers_of_segments_are_never_used_again(prefix, store):
    store.upsert(vectors([1]))
    merge(prefix, Silent())
    store.upsert(vectors([2]))
    assert (prefix / "segments" / "2.parquet").exists()


def test_another_model_or_other_ids_are_refused_and_the_index_is_as_it_was(prefix, store):
    store.upsert(vectors([1]))
    other = Embedder(service="clip", name="ViT-L-14", version="1", dimension=32)
    with pytest.raises(OtherEmbedder, match=r"ViT-B-32.*ViT-L-14"):
        create(prefix, other, Numbering.CONTENT)
    with pytest.raises(OtherEmbedder, match="database"):
        create(prefix, EMBEDDER, Numbering.IMAGES)
    wide = Vectors(ids=np.array([2]), paths=["x"], embeddings=unit(1, dimension=64))
    with pytest.raises(OtherEmbedder, match="64 numbers"):
        store.upsert(wide)
    with pytest.raises(OtherEmbedder, match="64 numbers"):
        store.search(unit(1, dimension=64)[0], 3)
    nan = Vectors(ids=np.array([2]), paths=["x"], embeddings=np.full((1, 32), np.nan, np.float32))
    with pytest.raises(OtherEmbedder, match="NaN"):
        store.upsert(nan)
    assert store.count() == 1


def test_a_segment_of_another_model_is_told(tmp_path, prefix, store):
    other = Embedder(service="clip", name="ViT-L-14", version="1", dimension=32)
    stranger = create(tmp_path / "other", other, Numbering.CONTENT)
    stranger.upsert(vectors([5]))
    store.upsert(vectors([1]))
    shutil.copy(tmp_path / "other" / "segments" / "1.parquet", prefix / "segments" / "2.parquet")
    with pytest.raises(OtherEmbedder, match=r"2\.parquet.*ViT-L-14"):
        open_index(prefix).count()


def test_where_there_is_no_index_it_is_said(tmp_path):
    with pytest.raises(ConfigError, match="windmill index build"):
        open_index(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="no index there"):
        merge(tmp_path / "nothing", Silent())


def cut(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def test_a_truncated_segment_is_named_and_set_aside(prefix, store):
    store.upsert(vectors([1]))
    store.upsert(vectors([2]))
    cut(prefix / "segments" / "2.parquet")
    with pytest.raises(IndexDamaged, match=r"2\.parquet: cut short.*--repair"):
        open_index(prefix).search(unit(1)[0], 1)
    with pytest.raises(IndexDamaged, match=r"2\.parquet"):
        merge(prefix, Silent())
    (drift,) = verify(prefix, Silent())
    assert drift.path.name == "2.parquet"
    assert repair(prefix, Silent()) == []
    assert open_index(prefix).count() == 1
    assert (prefix / "damaged" / "2.parquet").exists()


@pytest.mark.parametrize("ending", ["faiss", "ivfdata"])
def test_a_damaged_faiss_file_is_named_and_made_anew(prefix, store, monkeypatch, ending):
    monkeypatch.setattr(ann, "_FEW", 100)
    monkeypatch.setattr(ann, "_BYTES", 1 << 17)
    given = vectors(range(1500))
    store.upsert(given)
    merge(prefix, Silent())
    store.close()
    cut(prefix.parent / f"photos.{ending}")
    with pytest.raises(IndexDamaged, match=rf"photos\.{ending}.*windmill index verify"):
        open_index(prefix).count()
    (drift,) = verify(prefix, Silent())
    assert (drift.path.name, "--repair" in drift.remedy) == (f"photos.{ending}", True)
    assert repair(prefix, Silent()) == []
    assert open_index(prefix).search(given.embeddings[7], 1)[0].image_id == 7


def test_verify_sees_other_vectors_under_the_same_ids(prefix, store):
    store.upsert(vectors([1, 2]))
    ann.write_flat(np.array([1, 2]), unit(2, seed=8), prefix / "segments" / "1.faiss")
    (drift,) = verify(prefix, Silent())
    assert (drift.path.name, "not the vectors" in drift.what) == ("1.faiss", True)
    assert repair(prefix, Silent()) == []
    assert store.count() == 2


def test_verify_sees_a_merged_file_that_was_changed(prefix, store):
    store.upsert(vectors([1, 2]))
    merge(prefix, Silent())
    with Layout(prefix).parquet.open("r+b") as file:
        file.seek(40)
        file.write(b"\0\1\2")
    (drift,) = verify(prefix, Silent())
    assert (drift.path.name, "build it again" in drift.remedy) == ("photos.parquet", True)


def test_a_damaged_meta_is_named(prefix, store):
    Layout(prefix).meta.write_text("{")
    with pytest.raises(IndexDamaged, match=r"photos\.meta\.json"):
        open_index(prefix)


def test_two_do_not_merge_at_once(prefix, store):
    store.upsert(vectors([1]))
    with Layout(prefix).lock(), pytest.raises(StoreUnavailable, match="somebody is merging"):
        merge(prefix, Silent())
    assert merge(prefix, Silent()).segments == 1


def test_a_merge_is_due_when_much_came_since_the_last(prefix, store):
    store.upsert(vectors(range(1000)))
    merge(prefix, Silent())
    assert not store.due()
    for number in range(64):
        store.upsert(vectors(range(2000 + 20 * number, 2020 + 20 * number)))
    assert store.due()
    compaction = Compaction(prefix)
    compaction(store)
    compaction.wait()
    assert not store.due()
    assert store.view().meta.count == 2280


def test_an_index_that_nothing_was_put_into_may_become_another_models(prefix, store):
    other = Embedder(service="clip", name="ViT-L-14", version="1", dimension=48)
    assert create(prefix, other, Numbering.IMAGES).embedder == other


def test_a_damaged_meta_is_not_taken_for_no_index(prefix, store):
    store.upsert(vectors([1]))
    Layout(prefix).meta.write_text("{")
    with pytest.raises(IndexDamaged, match=r"photos\.meta\.json"):
        create(prefix, EMBEDDER, Numbering.CONTENT)


def test_what_is_deleted_stays_deleted_when_only_its_faiss_file_is_damaged(prefix, store):
    store.upsert(vectors([1, 2]))
    store.delete(np.array([2], np.int64))
    cut(prefix / "segments" / "2.faiss")
    assert repair(prefix, Silent()) == []
    assert open_index(prefix).count() == 1


def test_a_segment_that_was_set_aside_leaves_its_number(prefix, store):
    store.upsert(vectors([1]))
    cut(prefix / "segments" / "1.parquet")
    repair(prefix, Silent())
    store.upsert(vectors([2]))
    assert [path.name for path in (prefix / "segments").glob("*.parquet")] == ["2.parquet"]


def test_much_that_was_deleted_near_the_query_does_not_empty_a_search(prefix, store, kind):
    given = vectors(range(1200))
    store.upsert(given)
    merge(prefix, Silent())
    nearest = [hit.image_id for hit in store.search(given.embeddings[0], 150)]
    store.delete(np.array(nearest, np.int64))
    hits = store.search(given.embeddings[0], 10)
    assert len(hits) == 10
    assert not {hit.image_id for hit in hits} & set(nearest)
    store.delete(np.arange(1190, dtype=np.int64))
    left = {hit.image_id for hit in store.search(given.embeddings[0], 20)}
    assert left == set(range(1190, 1200)) - set(nearest)


def test_many_threads_may_read_one_index(prefix, store):
    given = vectors(range(5000))
    store.upsert(given)
    merge(prefix, Silent())
    store.view()

    def read(seed):
        ids = np.sort(np.random.default_rng(seed).choice(5000, 40, replace=False))
        return np.array_equal(store.fetch(ids).embeddings, given.embeddings[ids])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(80)))


def test_a_reader_sees_an_index_that_was_built_anew(prefix, store):
    store.upsert(vectors([1]))
    merge(prefix, Silent())
    assert store.count() == 1
    for path in prefix.parent.glob("photos.*"):
        path.unlink()
    shutil.rmtree(prefix)
    with pytest.raises(StoreError, match="photos"):
        store.count()
    again = create(prefix, EMBEDDER, Numbering.CONTENT)
    again.upsert(vectors([5, 6]))
    merge(prefix, Silent())
    assert [int(n) for n in store.fetch(np.array([1, 5, 6], np.int64)).ids] == [5, 6]


def test_who_writes_first_decides_whose_index_it_is(prefix, store):
    other = Embedder(service="clip", name="ViT-L-14", version="1", dimension=32)
    later = create(prefix, other, Numbering.CONTENT)
    with pytest.raises(OtherEmbedder, match="ViT-L-14"):
        store.upsert(vectors([1]))
    later.upsert(vectors([1]))
    assert open_index(prefix).embedder == other


def test_an_index_whose_meta_is_gone_is_not_written_over(prefix, store):
    store.upsert(vectors([1]))
    merge(prefix, Silent())
    Layout(prefix).meta.unlink()
    with pytest.raises(IndexDamaged, match=r"photos\.meta\.json is missing"):
        create(prefix, EMBEDDER, Numbering.CONTENT)
    with pytest.raises(IndexDamaged, match=r"photos\.meta\.json is missing"):
        open_index(prefix)
