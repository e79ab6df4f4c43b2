"""Following a store: what is tried, taken up, refused, tried again, and left alone."""

import asyncio
from pathlib import Path
from typing import cast

import pytest

from service.engine_link.engine_figures import EngineFigures
from service.memory_use import MemoryBudget
from service.metrics import Metrics
from service.models.model_loader import ModelLoader
from service.models.model_store import StoreError
from service.models.store_scan import scan_store
from service.models.store_watch import StoreWatch
from tests.service.store_scene import Scene, as_anybody, open_folder, tiny


def test_a_newer_version_is_taken_up_and_the_old_one_ends_with_its_requests(
    tmp_path: Path,
) -> None:
    async def follow() -> None:
        scene, old = Scene(tmp_path), tiny("1")
        scene.open(old)
        scene.add("tiny", "1")
        assert await scene.look() == ["tiny@1"]
        scene.add("tiny", "2")
        assert await scene.look() == ["tiny@2"]
        assert scene.loader.asked == ["tiny@2"]
        assert len(scene.models.engines) == 2
        assert not old.stopped.is_set()
        old.released.set()
        await asyncio.wait_for(old.stopped.wait(), 10)
        assert len(scene.models.engines) == 1
        assert scene.swaps("swapped") == 1
        # Prometheus would see no increase in a series that begins at one.
        refused = {"model": "tiny", "outcome": "damaged"}
        registry = scene.metrics.registry
        assert registry.get_sample_value("nextword_model_swaps_total", refused) == 0

    asyncio.run(follow())


def test_the_newest_version_that_works_is_taken_up(tmp_path: Path) -> None:
    async def follow() -> None:
        scene = Scene(tmp_path)
        scene.open(tiny("1"))
        for version, fault in (("1", ""), ("2", ""), ("3", "damaged"), ("4", "not_loaded")):
            scene.add("tiny", version, fault)
        assert await scene.look() == ["tiny@2"]
        assert scene.loader.asked == ["tiny@4", "tiny@3", "tiny@2"]
        assert [each.version for each in scene.models.refused("tiny")] == ["4", "3"]
        assert (scene.swaps("damaged"), scene.swaps("not_loaded")) == (1, 1)
        await scene.watch.close()

    asyncio.run(follow())


def test_a_refused_version_is_tried_again_when_its_files_change(tmp_path: Path) -> None:
    async def follow() -> None:
        scene = Scene(tmp_path)
        scene.open(tiny("1"))
        scene.add("tiny", "2", "damaged")
        for _ in range(3):
            assert await scene.look() == ["tiny@1"]
        assert scene.loader.asked == ["tiny@2"]
        scene.add("tiny", "2", "")
        assert await scene.look() == ["tiny@2"]
        assert scene.models.refused("tiny") == ()
        await scene.watch.close()

    asyncio.run(follow())


def test_a_version_without_room_is_tried_again_when_there_is_some(tmp_path: Path) -> None:
    async def follow() -> None:
        scene = Scene(tmp_path)
        scene.loader.budget = MemoryBudget(1, available=lambda: None)
        scene.open(tiny("1"))
        scene.add("tiny", "2", "no_memory")
        for _ in range(3):
            await scene.look()
        assert scene.loader.asked == ["tiny@2"]
        scene.loader.budget = MemoryBudget(1 << 60, available=lambda: None)
        await scene.look()
        assert scene.loader.asked == ["tiny@2", "tiny@2"]

    asyncio.run(follow())


def test_current_points_back_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    async def follow() -> None:
        scene = Scene(tmp_path)
        scene.open(tiny("2"))
        scene.add("tiny", "1")
        scene.add("tiny", "2")
        (tmp_path / "tiny" / "current").write_text("7")
        assert await scene.look() == ["tiny@2"]
        assert scene.models.refused("tiny")[0].version == "current"
        (tmp_path / "tiny" / "current").write_text("1")
        assert await scene.look() == ["tiny@1"]
        assert scene.models.refused("tiny") == ()
        (tmp_path / "tiny" / "current").unlink()
        assert await scene.look() == ["tiny@2"]
        await scene.watch.close()

    asyncio.run(follow())


def test_a_name_that_cannot_be_read_for_a_while_is_served_on_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def follow(root: Path) -> None:
        scene = Scene(root)
        scene.open(tiny("1"))
        for name, version in (("tiny", "1"), ("tiny", "2"), ("other", "1")):
            scene.add(name, version)
        (root / "tiny").chmod(0o000)
        with as_anybody():
            for _ in range(2):
                assert await scene.look() == ["tiny@1", "other@1"]
        (refused,) = scene.models.refused("tiny")
        assert refused.reason == "tiny: Permission denied"
        (root / "tiny").chmod(0o755)
        assert await scene.look() == ["tiny@2", "other@1"]
        assert scene.models.refused("tiny") == ()
        await scene.watch.close()

    with open_folder() as root:
        asyncio.run(follow(root))
    messages = [record.message for record in caplog.records]
    assert sum("tiny: which version is current cannot be told" in line for line in messages) == 1
    assert not any("has left the store" in line for line in messages)


def test_new_names_are_served_and_the_default_stays(tmp_path: Path) -> None:
    async def follow() -> None:
        scene = Scene(tmp_path)
        scene.open(tiny("1"))
        scene.add("tiny", "1")
        scene.add("other", "1", "damaged")
        assert await scene.look() == ["tiny@1"]
        scene.add("other", "2")
        assert await scene.look() == ["tiny@1", "other@2"]
        assert scene.models.find(None).label == "tiny@1"
        assert scene.models.find("other@2").label == "other@2"

    asyncio.run(follow())


def test_a_name_that_vanishes_is_served_on_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def follow() -> None:
        scene = Scene(tmp_path)
        scene.open(tiny("1"))
        for _ in range(2):
            assert await scene.look() == ["tiny@1"]
        scene.watch = StoreWatch(
            tmp_path / "gone",
            scene.models,
            cast("ModelLoader", scene.loader),
            EngineFigures(Metrics()),
        )
        with pytest.raises(StoreError):
            await scene.look()
        assert [model.label for model in scene.models.all] == ["tiny@1"]

    asyncio.run(follow())
    assert sum("tiny has left the store" in record.message for record in caplog.records) == 1


def test_a_pinned_version_is_taken_up_without_loading_and_stays_loaded(tmp_path: Path) -> None:
    async def follow() -> None:
        scene, old = Scene(tmp_path), tiny("1")
        scene.open(tiny("2"), pinned=(old,))
        scene.add("tiny", "1")
        scene.add("tiny", "2")
        assert scene.models.versions_of("tiny") == ("2", "1")
        assert scene.models.find("tiny@1").label == "tiny@1"
        (tmp_path / "tiny" / "current").write_text("1")
        assert await scene.look() == ["tiny@1"]
        assert scene.loader.asked == []
        (tmp_path / "tiny" / "current").unlink()
        assert await scene.look() == ["tiny@2"]
        assert not old.stopped.is_set()
        assert scene.models.versions_of("tiny") == ("2", "1")
        await scene.watch.close()

    asyncio.run(follow())


def test_a_name_of_a_folder_is_left_alone_in_the_store(tmp_path: Path) -> None:
    async def follow() -> None:
        scene = Scene(tmp_path, foreign_names=frozenset({"tiny"}))
        scene.open(tiny("1"))
        scene.add("tiny", "2")
        assert await scene.look() == ["tiny@1"]
        assert scene.loader.asked == []

    asyncio.run(follow())


def test_a_bug_in_following_one_name_ends_neither_the_watch_nor_other_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that nobody has foreseen, then the same look again without it."""

    async def follow() -> None:
        scene, taken_up = Scene(tmp_path), asyncio.Event()
        scene.open(tiny("1"))
        scene.add("broken", "1")
        # A folder where a file is expected.
        (tmp_path / "broken" / "1" / "fault").unlink()
        (tmp_path / "broken" / "1" / "fault").mkdir()
        scene.add("tiny", "1")
        scene.add("tiny", "2")
        look = scene.watch.look

        async def look_and_tell() -> None:
            await look()
            if scene.models.current("broken") is not None:
                taken_up.set()
            else:
                (tmp_path / "broken" / "1" / "fault").rmdir()
                scene.add("broken", "1")

        scene.watch.look = look_and_tell
        watching = asyncio.create_task(scene.watch.run(0.001))
        await asyncio.wait_for(taken_up.wait(), 60)
        watching.cancel()
        await asyncio.wait([watching])
        assert watching.cancelled()
        assert {model.label for model in scene.models.all} == {"tiny@2", "broken@1"}
        await scene.watch.close()

    asyncio.run(follow())
    assert any("broken cannot be followed" in record.message for record in caplog.records)


def test_a_look_that_fails_is_followed_by_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No thread can be started, say; what is served is served on."""

    async def follow() -> None:
        scene, looked_again = Scene(tmp_path), asyncio.Event()
        num_looks = 0

        async def fail_once() -> None:
            nonlocal num_looks
            num_looks += 1
            if num_looks == 1:
                raise RuntimeError("can't start new thread")
            looked_again.set()

        scene.watch.look = fail_once
        watching = asyncio.create_task(scene.watch.run(0.001))
        await asyncio.wait_for(looked_again.wait(), 60)
        watching.cancel()
        await asyncio.wait([watching])

    asyncio.run(follow())
    assert any("a look at the model store failed" in record.message for record in caplog.records)


def test_at_the_start_an_older_version_stands_in_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def follow() -> None:
        scene = Scene(tmp_path)
        scene.add("tiny", "1")
        scene.add("tiny", "2", "damaged")
        model = await scene.watch.load_first(scan_store(tmp_path)["tiny"])
        assert model is not None
        assert model.label == "tiny@1"
        assert scene.loader.asked == ["tiny@2 at the start", "tiny@1 at the start"]

    asyncio.run(follow())
    assert any("tiny@2 is refused: it is damaged" in record.message for record in caplog.records)
    assert any("tiny@1 is served in place of" in record.message for record in caplog.records)
