// What pages of Gradio lack: keys, copying, dragging a result onto a field, controls that fold on a phone. No event of
// Gradio is needed for it.
(() => {
    if (window.l4fPage) return;
    window.l4fPage = true;
    const words = WORDS;
    const seen = (element) => element && element.offsetParent !== null;
    const TABS = ".l4f .tab-nav > button, .l4f .tab-container:not(.visually-hidden) > button";
    const DRAWS = ".l4f-controls :is([id$=_run], [id$=_example], [id$=_all_samples], [id$=_surprise], [id$=_examples] button)";
    const stage = () => [...document.querySelectorAll(".l4f .l4f-results")].find(seen);

    const press = (selector) => {
        const found = [...(stage()?.querySelectorAll(selector) ?? [])].find((part) => seen(part) && !part.disabled);
        found?.click();
        return found;
    };

    const step = (buttons, current, by) => {
        const next = buttons[(buttons.indexOf(current) + by + buttons.length) % buttons.length];
        const row = next?.parentElement, place = [...row?.children ?? []].indexOf(next);
        next?.focus();
        next?.click();
        setTimeout(() => next?.isConnected || row?.children[place]?.focus()); // Gradio 3 and 4 make it anew
    };

    const copy = async () => {
        const pictures = [...(stage()?.querySelectorAll("img") ?? [])].filter(seen);
        const largest = pictures.sort((a, b) => b.width - a.width)[0];
        if (!largest || !navigator.clipboard?.write) return;
        const blob = await (await fetch(largest.src)).blob();
        await navigator.clipboard.write([new ClipboardItem({ [blob.type]: blob })]);
    };

    document.addEventListener("keydown", (event) => {
        if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        const tab = event.target.closest?.(TABS);
        if (tab && by) {
            step([...tab.parentElement.querySelectorAll(":scope > button")].filter(seen), tab, by);
            event.preventDefault();
            return;
        }
        if (event.target.closest?.("input, textarea, select, [contenteditable], [role=listbox]") || !stage()) return;
        const thumbnails = [...stage().querySelectorAll(".thumbnails button, .thumbnail-item")].filter(seen);
        const picked = thumbnails.find((part) => part.matches(".selected, :focus"));
        if (by && picked) step(thumbnails, picked, by);
        if (event.key === "Escape") press(".preview [aria-label=Close], .preview [aria-label=Clear]");
        if (event.key === "d") press('a[href][download], [id$="_download"] a, button[id*="_download"]:not([id$="_all"])');
        if (event.key === "s") press('[id$="_use_seed"]');
        if (event.key === "f") press('[id$="_favourite"]');
        if (event.key === "c") copy();
    });

    // Gradio 3 would save every picture as image.png.
    document.addEventListener("click", ({ target }) => {
        const link = target.closest?.('.l4f a[download="image"]');
        if (link) link.download = decodeURIComponent(link.pathname.split("/").pop());
    }, true);

    let folded = null; // controls whose result is awaited: before it is there, the page may be too short to scroll
    document.addEventListener("load", ({ target }) => {
        if (!target.matches?.(".l4f-single img, .l4f-gallery .preview img")) return;
        target.style.setProperty("--l4f-ratio", target.naturalWidth / target.naturalHeight);
        folded?.scrollIntoView({ block: "start" });
        folded = null;
    }, true);

    // A stage that is higher than the window sticks when its lower end is seen.
    const stick = (part) => part.style.setProperty("--l4f-top", `${Math.min(8, innerHeight - part.offsetHeight - 8)}px`);
    addEventListener("scroll", () => document.querySelectorAll(".l4f .l4f-stage").forEach(stick), { passive: true });

    // A result is dragged as its file; tabs and choices open while it hovers over them.
    let dragged = "";
    const field = (event) => event.target.closest?.(".l4f .block:has(input[type=file])");
    document.addEventListener("dragstart", (event) => {
        dragged = event.target.closest?.(".l4f")?.contains(event.target) && event.target.matches("img, :has(> img)")
            ? (event.target.src ?? event.target.querySelector("img").src) : "";
    });
    document.addEventListener("dragover", (event) => {
        if (!dragged) return;
        const opened = event.target.closest?.(`${TABS}, .l4f .l4f-segments label`);
        if (opened && !opened.matches(".selected")) opened.click();
        if (field(event)) event.preventDefault();
    });
    document.addEventListener("drop", async (event) => {
        const input = dragged && field(event)?.querySelector("input[type=file]");
        if (!input) return;
        event.preventDefault();
        event.stopPropagation();
        const blob = await (await fetch(dragged)).blob();
        const files = new DataTransfer();
        files.items.add(new File([blob], dragged.split("/").pop().split("?")[0], { type: blob.type }));
        input.files = files.files;
        input.dispatchEvent(new Event("change", { bubbles: true }));
    }, true);

    // What is done on boards of Explore and in the table of Models goes into hidden fields, which ask the server when they
    // change: the time makes them change always. Sliders send all they wish, so that any but the newest may be dropped.
    const put = (id, value) => {
        const box = document.querySelector(`#${id} :is(textarea, input)`);
        if (!box) return;
        box.value = value;
        box.dispatchEvent(new Event("input", { bubbles: true }));
    };
    const send = (id, what) => put(id, JSON.stringify({ ...what, now: Date.now() }));
    const order = (what) => send("l4f_explore_order", what);
    const wish = (slider) => {
        if (slider.dataset.key === "between") return { between: +slider.value };
        const strengths = {};
        for (const part of document.querySelectorAll(".l4f-directions [type=range]"))
            if (+part.value) strengths[part.dataset.key] = +part.value;
        return { variety: +document.querySelector(".l4f-variety [type=range]").value, strengths };
    };
    const tell = (slider) => {
        slider.setAttribute("value", slider.value); // a new board in Gradio 6 changes only what it finds to be different
        const told = slider.parentElement.querySelector("output");
        if (told) told.value = (+slider.value).toFixed(+slider.dataset.digits);
    };
    const explored = ({ target }) => target.closest?.(".l4f-board, .l4f-grid, .l4f-shelf") ? target : document.body;
    document.addEventListener("input", (event) => {
        const slider = explored(event);
        if (slider.type !== "range") return;
        tell(slider);
        send("l4f_explore_wish", wish(slider));
    });
    document.addEventListener("change", (event) => {
        const { type, value, dataset } = explored(event);
        if (type === "range") order({ do: "settle", wish: wish(event.target) });
        else if (type === "radio") order({ do: "range", range: value });
        else if (dataset.name) order({ do: "name", key: dataset.name, words: value });
    });

    document.addEventListener("click", (event) => {
        const pressed = explored(event).closest("[data-do]");
        if (pressed?.dataset.do === "end") {
            const slider = document.querySelector(`.l4f-board [type=range][data-key="${pressed.dataset.key}"]`);
            slider.value = pressed.dataset.to;
            tell(slider);
            order({ do: "settle", wish: wish(slider) });
        } else if (pressed) order({ ...pressed.dataset });
        const row = event.target.closest?.(".l4f-table tr[data-name]");
        if (row) put("l4f_models_row", `${row.dataset.name} ${Date.now()}`);
        if (event.target.closest?.('.l4f [id$="_copy"]')) copy();
        const controls = event.target.closest?.(DRAWS) && event.target.closest(".l4f-controls");
        if (!controls || window.innerWidth > 640) return;
        if (!controls.querySelector(".l4f-unfold")) {
            const unfold = document.createElement("button");
            unfold.className = "l4f-unfold";
            unfold.textContent = words.controls;
            unfold.onclick = () => controls.classList.toggle("l4f-folded");
            controls.prepend(unfold);
        }
        controls.classList.add("l4f-folded");
        controls.scrollIntoView({ block: "start" });
        folded = controls;
    });

    if (navigator.clipboard?.write) document.querySelector("#l4f")?.classList.add("l4f-copies");
    // Gradio closes the stream of an upload with a method that it has not written.
    const warn = console.warn;
    console.warn = (...said) => said[0] === "Method not implemented." || warn.apply(console, said);
})
