// Gradio 3 builds all of a page before any of it shows, and goes through all of it again at each event. What stands on
// our tabs is built when they are first seen, and what only programs call never.
(() => {
    if (!window.gradio_config?.version?.startsWith("3.")) return;
    for (const part of window.gradio_config.components) {
        const id = part.props.elem_id;
        if (part.children || !/^l4f_(tab_|endpoints$)/.test(id)) continue;
        let children, seen = false;
        Object.defineProperty(part, "children", {
            set: (built) => { children = built; },
            get: () => (seen ||= Boolean(document.getElementById(id)?.offsetParent)) ? children : [],
        });
    }
})();

// SD.Next's Modern UI moves into view what its templates name, by id, and hides the rest of the page. What of ours
// stands among the web UI's own components is brought there the same way. Other web UIs and themes have no such app.
(() => {
    const sendButtons = (app) => {
        for (const button of document.querySelectorAll('button[id$="_send_to_labels4free"]')) {
            const gallery = button.id.replace("_send_to_labels4free", "");
            const bar = app.querySelector(`#save_${gallery}`)?.closest(".sd-button")?.parentElement;
            if (!bar || app.contains(button)) continue;
            const letters = document.createElement("div");
            letters.className = "icon-letters"; // as the app draws what it has no icon for
            letters.textContent = "L4";
            button.title = button.textContent.trim();
            button.replaceChildren(letters);
            button.classList.add("sd-button");
            bar.append(button);
        }
    };

    const operation = (app) => {
        const ours = document.querySelector("#l4f_extras");
        const last = [...app.querySelectorAll("#layout-extras .portal")].pop();
        const controls = ours?.querySelector(".gap");
        if (!controls || !last) return;
        const heading = document.createElement("h2");
        heading.textContent = ours.querySelector(".label-wrap span")?.textContent || "Labels4Free";
        const place = document.createElement("div");
        place.className = "portal no-bg no-outline";
        place.append(controls);
        last.after(heading, place);
    };

    if (typeof onUiLoaded !== "function") return;
    onUiLoaded(async () => {
        if (typeof window.waitForUiReady !== "function") return;
        await window.waitForUiReady();
        const app = document.querySelector("#sdnext_app");
        if (!app) return;
        sendButtons(app);
        operation(app);
    });
})();
