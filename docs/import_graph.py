"""Counts and drawings of the package's imports, for docs/architecture.md.

python -m pip install grimp networkx
python docs/import_graph.py src             # counts, imports between rooms, upward arrows, circles
python docs/import_graph.py src --mermaid   # the drawing of the rooms
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import grimp
import networkx

# Lower rooms first: an import may point to an earlier room or to its own.
ROOMS = (
    *("study", "data", "proposals", "features", "matcher", "grounder", "training", "evaluation"),
    *("tracking", "report", "pipeline", "stages", "cli"),
)


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


TOP = "top"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the folder that holds the package camground")
    parser.add_argument("--mermaid", action="store_true", help="print the drawing")
    parser.add_argument("--join-top", action="store_true", help="draw modules at the top as one")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.source.resolve()))
    package = grimp.build_graph("camground", cache_dir=None)
    modules = sorted(package.modules)
    imports = [
        (a, b) for a in modules for b in sorted(package.find_modules_directly_imported_by(a))
    ]
    entries = {room(module) for module in modules if "." in module}
    folders = {room(module) for module in modules if module.count(".") > 1}
    folders |= {entry for entry in entries if (arguments.source / "camground" / entry).is_dir()}

    def node(module: str) -> str:
        name = room(module)
        return TOP if arguments.join_top and name not in folders else name

    between = Counter(
        (node(a), node(b))
        for a, b in imports
        if node(a) != node(b) and "camground" not in (node(a), node(b))
    )
    if arguments.mermaid:
        print(mermaid(between, folders))
        return
    circles = [
        c for c in networkx.strongly_connected_components(networkx.DiGraph(imports)) if len(c) > 1
    ]
    rooms = [
        c
        for c in networkx.strongly_connected_components(networkx.DiGraph(list(between)))
        if len(c) > 1
    ]
    print(f"modules: {len(modules)}")
    print(f"imports between them: {len(imports)}")
    print(
        f"entries at the top: {len(entries)} ({len(entries - folders)} modules, {len(folders)} packages)"
    )
    print(f"imports from one entry to another: {sum(between.values())}, over {len(between)} arrows")
    print(f"circles of modules: {len(circles)}", *(sorted(c) for c in circles))
    print(f"circles of entries: {len(rooms)}", *(sorted(c) for c in rooms))
    if "stages" in entries:
        against = upward(imports)
        print(f"upward imports: {len(against)}")
        for importer, imported in against:
            print(f"  {importer} -> {imported}")


if __name__ == "__main__":
    main()
