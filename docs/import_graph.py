"""Counts and drawings of the package's imports, for docs/architecture.md.

python -m pip install grimp networkx
python docs/import_graph.py src             # counts, imports between rooms, upward arrows, circles
python docs/import_graph.py src --mermaid   # the drawing of the rooms
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import grimp
import networkx

# Lower rooms first: an import may point to an earlier room or to its own.
ROOMS = (
    *("study", "data", "proposals", "features", "matcher", "grounder", "training", "evaluation"),
    *("tracking", "report", "pipeline", "stages", "cli"),
)
TOP = "top"  # the modules at the top, taken as one


def room(module: str) -> str:
    """The entry at the package's top that a module is in; of the package itself, its name."""
    return module.split(".")[1] if "." in module else module


def upward(imports: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Imports of a higher room, and of one stage by another."""
    height = {name: index for index, name in enumerate(ROOMS)}
    shared = {"camground.stages", "camground.stages.command", "camground.stages.config"}
    return [
        (importer, imported)
        for importer, imported in imports
        if height.get(room(imported), -1) > height.get(room(importer), len(ROOMS))
        or (room(importer) == room(imported) == "stages" and not {importer, imported} & shared)
    ]


def mermaid(between: Counter[tuple[str, str]], packages: set[str]) -> str:
    """Rooms and the imports between them; of a graph without circles only the arrows that no others imply."""
    graph = networkx.DiGraph(list(between))
    drawn = graph.edges
    if networkx.is_directed_acyclic_graph(graph):
        drawn = networkx.transitive_reduction(graph).edges
    loose = {name for name in graph if name not in packages}
    lines = ["flowchart TD"]
    lines += [f'    {name}["{name}"]' for name in sorted(graph) if name not in loose]
    lines += [f'    {name}("{name}.py")' for name in sorted(loose) if name != TOP]
    lines += [f'    {TOP}["modules at the top"]'] if TOP in loose else []
    lines += [f"    {a} -->|{between[a, b]}| {b}" for a, b in sorted(drawn)]
    return "\n".join(lines)


def imports_of(**options: bool) -> list[tuple[str, str]]:
    """All imports within the package, as (importer, imported)."""
    graph = grimp.build_graph("camground", cache_dir=None, **options)
    return [
        (importer, imported)
        for importer in sorted(graph.modules)
        for imported in sorted(graph.find_modules_directly_imported_by(importer))
    ]


def circles(imports: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Groups whose members can all be reached from one another."""
    parts = networkx.strongly_connected_components(networkx.DiGraph(list(imports)))
    return [sorted(part) for part in parts if len(part) > 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the folder that holds the package camground")
    parser.add_argument("--mermaid", action="store_true", help="print the drawing")
    parser.add_argument("--join-top", action="store_true", help="take the modules at the top as one")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.source.resolve()))
    top = [path for path in (arguments.source / "camground").iterdir() if path.name[0] not in "_."]
    packages = {path.name for path in top if path.is_dir()}
    modules = {path.stem for path in top if path.suffix == ".py"}

    def node(module: str) -> str:
        return TOP if arguments.join_top and room(module) in modules else room(module)

    imports = imports_of()
    between = Counter(
        (node(a), node(b)) for a, b in imports if node(a) != node(b) and "camground" not in (node(a), node(b))
    )
    if arguments.mermaid:
        print(mermaid(between, packages))
        return
    print(f"modules: {sum(1 for _ in (arguments.source / 'camground').rglob('*.py'))}")
    print(f"imports between them: {len(imports)}")
    print(f"modules at the top: {len(modules)}; packages: {len(packages)}")
    print(f"imports from one of these to another: {sum(between.values())} (arrows: {len(between)})")
    executed = circles(imports_of(exclude_type_checking_imports=True))
    print(f"circles of modules: {len(executed)}; with imports for type checkers: {len(circles(imports))}")
    print(f"circles of rooms: {len(circles(between))}", *circles(between))
    if "stages" in packages:
        against = upward(imports)
        print(f"upward imports: {len(against)}", *(f"{a} -> {b}" for a, b in against), sep="\n  ")


if __name__ == "__main__":
    main()
