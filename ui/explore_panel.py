"""The panel *Explore*: one subject that follows sliders, and ways from it to others."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
from PIL import Image

from l4f_plugin.arguments import draw_seed
from l4f_plugin.errors import UserError
from l4f_plugin.exploring import NEIGHBOURS, PARTS, RANGES, Look, key, mixes, neighbours, parse_key
from l4f_plugin.images import load_picture
from l4f_plugin.provenance import WPlus

from . import compat, explore_boards, seeds, status
from .class_choice import ClassChoice
from .controls import Given, RestoreChoice, SeedField, button, controls_column, named, stage_column
from .exploration import Exploration, place, read
from .explore_boards import END, SHOWN
from .motion_form import MotionForm
from .outputs import Result, slug
from .run_buttons import RunButtons, Running, complain
from .service import BATCH, Service
from .stage import Stage
from .texts import text

BUTTONS = ("undo", "more", "put", "to_swap", "to_gallery")
VIEWS = ("picture", "cutout", "mask", "background")
FIRST_SEED, VARIETY = "6", 0.7
EXAMPLE_SEEDS = (6, 9, 32)
MOST_ANIMATED = 8  # pictures of Generate that become the subjects of a motion


class LiveStage(Stage):
    """The stage with a picture that is drawn into the page itself, so that it may change many times a second."""

    def _build_pictures(self, comparing: bool) -> list:
        self.live = gr.HTML("", elem_id=f"l4f_{self._panel}_image", elem_classes=["l4f-checker", "l4f-flush"])
        return [self.live]

    def look(self, view: str, results: Sequence[Any], picked: Any = None) -> dict:
        result = self.chosen(results, picked)
        if result is None:
            return {}
        with Image.open(result.files[view]) as picture:
            return {self.live: explore_boards.live(picture), **self.offer(result, view)}


class ExplorePanel:
    """The one `Result` of the stage holds `picture`, `mask`, `cutout`, `background` and `w_plus`.
    Nothing of the boards is made before the tab is opened."""

    def __init__(self, service: Service):
        self._service = service
        self._ends: WeakKeyDictionary = WeakKeyDictionary()  # by directions: range to thumbnails
        self.state = gr.State(Exploration())
        with gr.Row(elem_classes=["l4f-panel", "l4f-explore"]):
            with controls_column():
                self._build_controls()
            with stage_column():
                self.stage = LiveStage(
                    service, "explore", self.job.status, VIEWS, downloads=("picture", "cutout", "w_plus"),
                    kept=VIEWS, buttons=dict.fromkeys(BUTTONS, {}), sends=True,
                )  # fmt: skip
                self.grid, self.shelf = (gr.HTML("", elem_classes="l4f-flush") for _ in range(2))
                self.mix = button("explore.mix", size="sm", visible=False)
                self.motion = MotionForm(service)
        self._wire()

    def _build_controls(self) -> None:
        self.choice = ClassChoice(self._service, "explore")
        self.field = SeedField("explore.seed", FIRST_SEED)
        self.seed = self.field.box
        self.job = RunButtons(self._service, "explore")
        self.example = button("explore.example", size="sm")
        self.board = gr.HTML("", elem_id="l4f_explore_board", elem_classes="l4f-flush")
        self.sheet = gr.HTML("", elem_classes="l4f-hidden")
        self.restore = RestoreChoice(self._service, "explore")
        hidden = {"max_lines": 1, "elem_classes": "l4f-hidden"}
        self.wish, self.order = (gr.Textbox(**hidden, **named(f"explore.{name}")) for name in ("wish", "order"))
        self.range = gr.State(RANGES[0])

    def _wire(self) -> None:
        stage = self.stage
        undo, more, put, *_ = stage.buttons.values()
        self.inputs = {self.state, self.choice.dropdown, self.seed, stage.view, self.order, self.range}
        self.inputs |= {self.restore.picture}
        self.outputs = [*stage.outputs, self.board, self.sheet, self.grid, self.shelf, self.mix, self.seed]
        self.outputs += [self.choice.dropdown, self.range, self.motion.frame]
        for trigger in (self.job.run.click, self.seed.submit, self.field.drawn.then, self.choice.dropdown.input):
            self._start(trigger, self.begin)
        for trigger, work in (
            (self.restore.dropped, self.restored),
            (undo.click, self.step_back),
            (more.click, self.more_like_this),
            (put.click, self.put_aside),
            (self.mix.click, self.mix_chosen),
            (self.example.click, self.try_example),
        ):
            self._start(trigger, work)
        self._start(self.order.change, self.obey, buttons=False, every=True)
        if self._service.follows_drags:
            seen = [stage.live, self.job.status]
            compat.on(self.wish.change, self.follow, [self.wish, self.state, stage.view], seen, latest=True)
        self.motion.wire(self.state)

    def _start(self, trigger: Callable, work: Callable, **wiring: Any) -> None:
        self.job.on(trigger, work, self.inputs, self.outputs, **wiring)

    # What others bring here, and what goes from here to them

    def open_on(self, trigger: Callable) -> None:
        """Wires an event (the tab being opened) that draws a first subject where there is none."""
        self._start(trigger, self.first)

    def open_with(self, stage: Stage, tabs: gr.Tabs) -> None:
        """Wires two buttons of another panel's stage: its picked picture is explored, its pictures are animated."""
        self.brought, self.picked = stage.results, stage.picked
        self.inputs |= {stage.results, stage.picked}
        for name, work in (("to_explore", self.take_picked), ("animate", self.take_all)):
            opened = compat.on(stage.buttons[name].click, lambda: gr.update(selected="explore"), [], [tabs])
            self._start(opened.then, work)

    def send_to(self, generate: Any, tabs: gr.Tabs) -> None:
        """Wires the button that puts the subject into the gallery of the panel *Generate*."""

        def bring(explored: Exploration, shown: list[Result], view: str) -> dict:
            if explored.subject is None:
                return {}
            try:
                saved = self._service.outputs.save_sample(explored.subject, explored.class_name, explored.title)
            except Exception as error:
                return {self.job.status: complain(error)}
            return {**generate.show([saved, *shown], view, 0), tabs: gr.update(selected="generate")}

        inputs = [self.state, generate.stage.results, generate.stage.view]
        outputs = [*generate.shown, self.job.status, tabs]
        compat.on(self.stage.buttons["to_gallery"].click, bring, inputs, outputs)

    def take_picked(self, running: Running, given: Given) -> Iterator[dict]:
        """The subject of the picture that is picked elsewhere."""
        if results := given[self.brought]:
            one = results[given[self.picked] or 0]
            yield from self._go_to(running, given, one.class_name, one.codes() or one.seed, one.truncation_psi)

    def take_all(self, running: Running, given: Given) -> Iterator[dict]:
        """The subjects of the pictures that are shown elsewhere, put on the shelf and chosen."""
        explored, results = given[self.state], given[self.brought]
        if not results:
            raise UserError(text("explore.nothing_to_animate"))
        explored.chosen = []
        for one in results[:MOST_ANIMATED]:
            yield from self._enter(running, explored, one.class_name)
            look = self._look(running, explored, one.codes() or one.seed, one.truncation_psi)
            picture = Image.fromarray(load_picture(one.files["picture"]))
            explored.put_on_shelf(explored.codes(look), explore_boards.address(picture))
        if explored.look is None:
            explored.settle(explored.at(explored.shelf[-1].codes))
        yield {**self._shelf(explored), self.motion.frame: gr.update(open=True)}
        yield from self._arrive(running, given)

    # Sliders

    def follow(self, written: str, explored: Exploration, view: str) -> dict:
        """The subject as the sliders stand; nothing for a wish that another has followed."""
        with explored.live.turn() as newest:
            if not newest or explored.look is None:
                return {}
            try:
                codes, token = explored.wished(read(written))[1], self._service.new_token()
                behind = view == "background"
                [subject] = self._service.draw(explored.class_name, [codes], token, with_background=behind, steady=True)
            except Exception as error:
                return {self.job.status: complain(error)}
        return {self.stage.live: explore_boards.live(subject.parts()[view]())}

    # Jobs

    def first(self, running: Running, given: Given) -> Iterator[dict]:
        """The first subject, unless there is one or there is no class for it."""
        if given[self.state].look is None and self._service.is_usable(given[self.choice.dropdown]):
            yield from self.begin(running, given)

    def begin(self, running: Running, given: Given) -> Iterator[dict]:
        seed = seeds.wanted_seed(given[self.seed])
        yield {self.seed: str(seed)}
        yield from self._go_to(running, given, given[self.choice.dropdown], seed)

    def restored(self, running: Running, given: Given) -> Iterator[dict]:
        recipe, psi, words = self.restore.read(given[self.restore.picture])
        yield from self._go_to(running, given, recipe.class_name, recipe.w_plus or recipe.seed, psi)
        yield {self.job.status: status.finished(words)}

    def step_back(self, running: Running, given: Given) -> Iterator[dict]:
        given[self.state].undo()
        yield from self._arrive(running, given)

    def more_like_this(self, running: Running, given: Given) -> Iterator[dict]:
        explored = self._explored(given)
        drawn = [draw_seed() for _ in range(NEIGHBOURS)]
        others = self._service.codes(explored.class_name, drawn, running.token, abs(explored.look.variety))
        near = neighbours(explored.codes(), others, explored.centre)
        found = [(codes, text("explore.neighbour", number=number)) for number, codes in enumerate(near, start=1)]
        yield from self._offer(running, given, text("explore.neighbours"), found)

    def mix_chosen(self, running: Running, given: Given) -> Iterator[dict]:
        """Every mix of the coarse, middle and fine styles of two or three chosen subjects."""
        found = [
            (codes, text("explore.mixed", **dict(zip(PARTS, ("ABC"[number] for number in who), strict=True))))
            for who, codes in mixes(given[self.state].picked(2, 3))
        ]
        yield from self._offer(running, given, text("explore.mixes"), found)

    def try_example(self, running: Running, given: Given) -> Iterator[dict]:
        """Three subjects on the shelf, and every mix of them."""
        explored = given[self.state]
        yield from self._enter(running, explored, given[self.choice.dropdown])
        found = self._service.codes(explored.class_name, EXAMPLE_SEEDS, running.token)
        looks, explored.chosen = [Look(codes, VARIETY) for codes in found], []
        for subject in self._service.draw(explored.class_name, [explored.codes(look) for look in looks], running.token):
            explored.put_on_shelf(subject.w_plus, explore_boards.address(subject.picture()))
        if explored.look is None:
            explored.settle(looks[0])
            yield from self._arrive(running, given)
        yield self._shelf(explored)
        yield from self.mix_chosen(running, given)

    def _offer(self, running: Running, given: Given, heading: str, found: list[tuple[WPlus, str]]) -> Iterator[dict]:
        """Draws subjects that may be gone on with, (codes, words) each."""
        explored = given[self.state]
        explored.offers, pictures = [], []
        for start in range(0, len(found), BATCH):
            yield {self.job.status: status.running(text("explore.drawing"), start, len(found))}
            codes, words = zip(*found[start : start + BATCH], strict=True)
            drawn = self._service.draw(explored.class_name, codes, running.token)
            pictures += zip((subject.picture() for subject in drawn), words, strict=True)
            explored.offers += [subject.w_plus for subject in drawn]
            yield {self.grid: explore_boards.grid(heading, pictures)}
        yield {self.job.status: status.finished(text("explore.take_one"))}

    def put_aside(self, running: Running, given: Given) -> Iterator[dict]:
        explored = self._explored(given)
        explored.put_on_shelf(explored.codes(), explore_boards.address(explored.subject.picture()))
        yield self._shelf(explored)

    def obey(self, running: Running, given: Given) -> Iterator[dict]:
        """What was clicked on the boards."""
        order, explored = read(given[self.order]), self._explored(given)
        do, at, sent = order.get("do"), order.get("at"), order.get("now")
        if sent and sent == explored.obeyed:
            return
        explored.obeyed = sent
        if do == "range" and order.get("range") in RANGES:
            yield {self.range: order["range"]}
            yield from self._draw_ends(running, explored, order["range"])
        elif do == "name":
            yield from self._name(explored, str(order.get("key")), str(order.get("words")), given)
        elif do in ("choose", "drop"):
            getattr(explored, do)(place(at, explored.shelf))
            yield self._shelf(explored)
        elif do in ("settle", "take", "go_on"):
            if do == "settle":
                explored.settle(explored.wished(order.get("wish"))[0])
            else:
                there = explored.offers if do == "take" else [kept.codes for kept in explored.shelf]
                explored.settle(explored.at(there[place(at, there)]))
            yield from self._arrive(running, given, moved=do == "settle" and "between" not in order["wish"])
        else:
            raise UserError(text("explore.unreadable"))

    def _name(self, explored: Exploration, written: str, words: str, given: Given) -> Iterator[dict]:
        name, number = parse_key(written, len(explored.directions))
        ends = self._ends.get(explored.directions, {})
        explored.directions = self._service.name_direction(explored.class_name, key(name, number), words)
        self._ends[explored.directions] = ends
        yield {
            self.board: self._board(explored, given[self.range]),
            self.job.status: status.finished(text("explore.named")),
        }

    # Parts of jobs

    def _explored(self, given: Given) -> Exploration:
        explored = given[self.state]
        if explored.look is None:
            raise UserError(text("explore.nothing_yet"))
        return explored

    def _enter(self, running: Running, explored: Exploration, name: str | None) -> Iterator[dict]:
        """Finds the directions of a class that was not explored so far."""
        entry = self._service.entry(name)
        if explored.class_name != entry.name:
            yield {self.job.status: status.running(text("explore.entering", title=entry.title))}
            found, centre = self._service.directions(entry.name, running.token)
            if explored.class_name != entry.name:  # the tab, as it opened, may have been first
                explored.enter(entry.name, entry.title, found, centre)
            yield {self.choice.dropdown: entry.name, self.grid: "", **self._shelf(explored)}

    def _look(self, running: Running, explored: Exploration, source: int | WPlus, variety: float) -> Look:
        """That of a seed, or of codes."""
        if isinstance(source, WPlus):
            return explored.at(source)
        return Look(self._service.codes(explored.class_name, [source], running.token)[0], variety)

    def _go_to(
        self, running: Running, given: Given, name: str | None, source: int | WPlus, variety: float | None = None
    ) -> Iterator[dict]:
        """Draws another subject of a class; as varied as the last one where nothing else is said."""
        explored = given[self.state]
        yield from self._enter(running, explored, name)
        if variety is None:
            variety = explored.look.variety if explored.look else VARIETY
        explored.settle(self._look(running, explored, source, variety))
        yield from self._arrive(running, given)

    def _arrive(self, running: Running, given: Given, moved: bool = False) -> Iterator[dict]:
        """Draws the subject and writes its files. Where the sliders `moved` it there, they are left alone."""
        explored, view = given[self.state], given[self.stage.view]
        drawing = {self.job.status: status.running(text("explore.drawing"))}
        yield {} if moved else {**drawing, self.board: self._board(explored, given[self.range])}
        [explored.subject] = self._service.draw(
            explored.class_name, [explored.codes()], running.token, with_background=True
        )
        subject, stem = explored.subject, f"{slug(explored.class_name)}_explored"
        parts = {**subject.parts(), "w_plus": subject.w_plus}
        files = self._service.outputs.preview(stem, parts, subject.infotext())
        shown = self.stage.show([Result(files, class_name=explored.class_name)], view)
        yield {**shown, self.job.status: status.finished(text("explore.done", title=explored.title))}
        if not moved:
            yield from self._draw_ends(running, explored, given[self.range])

    def _board(self, explored: Exploration, shown: str) -> str:
        return explore_boards.board(explored, shown, self._service.manages_classes)

    def _shelf(self, explored: Exploration) -> dict:
        mixable = len(explored.chosen) in (2, 3)
        return {self.shelf: explore_boards.shelf(explored), self.mix: gr.update(visible=mixable)}

    def _draw_ends(self, running: Running, explored: Exploration, name: str) -> Iterator[dict]:
        """The two ends of each direction of a range, of the mean subject; drawn once."""
        drawn = self._ends.setdefault(explored.directions, {})
        if name not in drawn:
            mean = WPlus(explored.centre[None].repeat(explored.look.base.codes.shape[0], axis=0), 0)
            numbers, ends = range(min(SHOWN, len(explored.directions))), (-END, END)
            looks = (Look(mean, 1.0, {key(name, number): strength}) for number in numbers for strength in ends)
            codes, pictures = list(map(explored.codes, looks)), []
            for start in range(0, len(codes), BATCH):
                subjects = self._service.draw(explored.class_name, codes[start : start + BATCH], running.token)
                pictures += [subject.picture() for subject in subjects]
            drawn[name] = pictures
        # The last word once more: these drawings may have waited for others, which the status line told.
        done = status.finished(text("explore.done", title=explored.title))
        yield {self.sheet: explore_boards.ends_sheet(drawn), self.job.status: done}
