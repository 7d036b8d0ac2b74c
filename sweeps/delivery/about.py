"""What a picture's file says of how it was made, in the words that other programs read."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from generators.sharing.plan import SharingPlan
    from sweeps.jobs import Job

SPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "reusebench": "https://github.com/reusebench/reusebench/ns/1.0/",
}
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{}<?xpacket end="r"?>'  # as XMP's specification has it
)


@dataclass(frozen=True)
class About:
    """How one picture was made.

    Attributes:
        model: its name, and where it is from the hub, its parts at their commits.
        weights: the hash of its weights and configurations.
        scheduler: its class in diffusers.
        run: the id of the cell, which is a hash of all that changes the pictures.
        path: its nodes in ``plan.npz`` from the root on, with their steps from 1 to K and their prompts.
        software: name and version.
    """

    prompt: str
    negative_prompt: str
    seed: int
    tau: str
    model: str
    weights: str
    steps: int
    guidance: float
    scheduler: str
    run: str
    path: str
    software: str

    def parameters(self, width: int, height: int) -> str:
        """Return it as AUTOMATIC1111's web interface writes it, and what reads pictures of its kind understands.

        Examples:
            >>> made = About("a fox", "", 42, "0.5", "mini-sd", "ab", 20, 4.0, "DDIMScheduler", "c0", "7: 1-20", "x 1")
            >>> print(made.parameters(64, 32))
            a fox
            Steps: 20, Sampler: DDIMScheduler, CFG scale: 4, Seed: 42, Size: 64x32, Model: mini-sd, Tau: 0.5, Run: c0, \
Path: "7: 1-20", Version: x 1
        """
        values = {
            "Steps": str(self.steps),
            "Sampler": self.scheduler,
            "CFG scale": f"{self.guidance:g}",
            "Seed": str(self.seed),
            "Size": f"{width}x{height}",
            "Model": self.model,
            "Tau": self.tau,
            "Run": self.run,
            "Path": self.path,
            "Version": self.software,
        }
        negative = [f"Negative prompt: {self.negative_prompt}"] if self.negative_prompt else []
        return "\n".join(
            [self.prompt, *negative, ", ".join(f"{name}: {_quoted(text)}" for name, text in values.items())]
        )

    def json(self) -> str:
        """Return all of it as a JSON object."""
        return json.dumps(asdict(self), ensure_ascii=False)

    def xmp(self) -> bytes:
        """Return all of it as an XMP packet: the prompt is its ``dc:description``, the rest in a name space of ours."""
        for prefix, space in SPACES.items():
            ElementTree.register_namespace(prefix, space)
        root = ElementTree.Element(_name("x", "xmpmeta"))
        described = ElementTree.SubElement(
            ElementTree.SubElement(root, _name("rdf", "RDF")),
            _name("rdf", "Description"),
            {
                _name("rdf", "about"): "",
                _name("xmp", "CreatorTool"): self.software,
                **{
                    _name("reusebench", name): f"{value}"
                    for name, value in asdict(self).items()
                    if name not in ("prompt", "software")
                },
            },
        )
        shows = ElementTree.SubElement(described, _name("dc", "description"))
        words = ElementTree.SubElement(shows, _name("rdf", "Alt"))
        item = ElementTree.SubElement(words, _name("rdf", "li"), {"xml:lang": "x-default"})
        item.text = self.prompt
        return PACKET.format(ElementTree.tostring(root, encoding="unicode")).encode()


def abouts(job: "Job") -> Callable[[int], About]:
    """Return what tells of each prompt's picture how it is made; its job has a plan."""
    from sweeps.axes import canonical
    from sweeps.machine import versions

    assert job.plan
    plan, source = job.plan, job.source
    settings, prompts = source.settings, source.prompts.prompts
    own = source.prompts.own(settings.seed, settings.negative_prompt)
    commits = ", ".join(source.entry.commits().values())
    model = f"{source.entry.name} ({commits})" if commits else source.entry.name
    software = f"reusebench {versions()['reusebench']}"
    tau = canonical(job.config.tau)

    def about(prompt: int) -> About:
        return About(
            prompt=prompts[prompt],
            negative_prompt=own[prompt].negative_prompt,
            seed=own[prompt].seed,
            tau=tau,
            model=model,
            weights=source.weights,
            steps=settings.steps,
            guidance=settings.guidance,
            scheduler=source.scheduler,
            run=job.id,
            path=path_text(plan, prompt),
            software=software,
        )

    return about


def path_text(plan: "SharingPlan", prompt: int) -> str:
    """Return the nodes that a prompt's picture goes through, from the root on, with their steps and prompts.

    Examples:
        >>> from generators.sharing.plan import build_plan
        >>> from generators.sharing.schedule import get_schedule
        >>> from generators.sharing.tree import Tree
        >>> pair = build_plan(Tree.from_linkage([[0, 1, 0.5, 2]]), get_schedule("eq7"), 1.1, 4)
        >>> path_text(pair, 1)
        'node 2: steps 1-2 (2 prompts); node 1: steps 3-4 (alone)'
    """
    nodes, node = [], int(plan.output[prompt])
    while node >= 0:
        nodes.append(node)
        node = int(plan.source[node])
    return "; ".join(
        f"node {node}: steps {plan.first[node] + 1}-{plan.stop[node]} "
        f"({'alone' if (members := int(plan.hi[node] - plan.lo[node])) == 1 else f'{members:,} prompts'})"
        for node in reversed(nodes)
    )


def _name(prefix: str, name: str) -> str:
    return f"{{{SPACES[prefix]}}}{name}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if set(text) & set(',:\n"') else text
