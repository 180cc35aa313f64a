"""What the browser tests and benchmarks ask a page of JupyterLab."""

CONTROLS = ".noUi-handle"  # what a reader moves; panels use sliders only
PICTURE = """async img => ({
    picture: await crypto.subtle.digest('SHA-1', new TextEncoder().encode(img.src))
        .then(digest => Array.from(new Uint8Array(digest)).join(' ')),
    alt: img.alt,
    height: img.getBoundingClientRect().height,
})"""
ERRORS = """() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells
    .flatMap(cell => cell.outputs ?? [])
    .filter(output => output.output_type === 'error')
    .map(output => output.ename + ': ' + output.evalue)"""
IDLE = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"


def errors(page):
    """Error outputs of the open notebook."""
    return page.evaluate(ERRORS)


def key_for(control):
    """A key that moves the slider: up where it can go up, else down."""
    value, top = (float(control.get_attribute(name)) for name in ("aria-valuenow", "aria-valuemax"))
    return "ArrowRight" if value < top else "ArrowLeft"


def alt_when_still(page, panel, pause_ms=150):
    """The alternative text, once the kernel is idle and the picture has stopped changing."""
    image = panel.locator("img")
    last = None
    while last != (last := image.get_attribute("src")) or not page.evaluate(IDLE):
        page.wait_for_timeout(pause_ms)
    return image.get_attribute("alt")
