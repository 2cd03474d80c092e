"""Code is known by its hash."""

from bids_cascade import sources
from bids_cascade.sources import hash_sources


def test_modules_and_folders_by_name_and_content(tmp_path, monkeypatch) -> None:
    assert hash_sources("synthesis") == hash_sources("synthesis") != hash_sources("synthesis", "sources.py")
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "sources.py"))
    (tmp_path / "a").mkdir()
    for name in ("a/one.py", "a/two.py", "b.py"):
        (tmp_path / name).write_text(name)
    seen = [hash_sources("a"), hash_sources("b.py"), hash_sources("a", "b.py")]
    (tmp_path / "a/note.txt").write_text("no code")
    assert hash_sources("a") == seen[0]
    (tmp_path / "a/two.py").write_text("changed")
    seen.append(hash_sources("a"))
    (tmp_path / "a/two.py").rename(tmp_path / "a/three.py")
    seen.append(hash_sources("a"))
    assert len(set(seen)) == 5
