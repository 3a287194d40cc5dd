/* Search where a page is opened from disk: browsers start no worker there, so the same script runs in a hidden frame. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe"), waiting = [];
      frame.hidden = true;
      window.addEventListener("message", event => {
        if (event.source !== frame.contentWindow) return;
        const answer = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(answer);
        if (this.onmessage) this.onmessage(answer);
      });
      frame.addEventListener("load", () => {
        this.postMessage = data => frame.contentWindow.receive(data, "*");
        waiting.forEach(this.postMessage);
      });
      this.postMessage = data => waiting.push(data);
      frame.srcdoc = `<script>const outside = parent; window.receive = window.postMessage.bind(window); window.postMessage = data => outside.postMessage(data, "*");</script>
        <script src="${new URL(address, document.baseURI).href}"></script>`;
      (document.body || document.documentElement).append(frame);
    }
    terminate() {}
  };
}
