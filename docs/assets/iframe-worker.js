// Browsers refuse workers on pages that were opened from a folder (file://), and the search
// needs one. On such pages, run the worker's script in a hidden frame of the page instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = this.onerror = null;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      document.body.append(this.frame);
      const inner = this.frame.contentWindow;
      inner.postMessage = (message) => {
        const data = structuredClone(message);
        setTimeout(() => this.emit(new MessageEvent("message", { data })));
      };
      this.loaded = new Promise((resolve) => {
        const script = inner.document.createElement("script");
        script.src = new URL(url, location.href);
        script.onload = resolve;
        script.onerror = () => this.emit(new ErrorEvent("error"));
        inner.document.body.append(script);
      });
    }

    emit(event) {
      this["on" + event.type]?.(event);
      this.dispatchEvent(event);
    }

    postMessage(message) {
      const inner = this.frame.contentWindow;
      const data = structuredClone(message);
      this.loaded.then(() => inner.dispatchEvent(new inner.MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
