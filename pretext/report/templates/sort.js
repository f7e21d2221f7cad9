"use strict";
// Marks boxes that scroll, now and when the window changes.
function mark() {
  document.querySelectorAll(".box").forEach(function (box) {
    box.classList.toggle("scrolls", box.scrollWidth > box.clientWidth + 1);
  });
}
mark();
window.addEventListener("resize", mark);
// Makes the heads of sortable columns into buttons. Without it the tables stand as they are, best first.
document.querySelectorAll("table").forEach(function (table) {
  var heads = table.tHead ? Array.from(table.tHead.rows[0].cells) : [];
  heads.forEach(function (head, column) {
    if (!head.dataset.first) return;
    var button = document.createElement("button");
    button.type = "button";
    button.append.apply(button, Array.from(head.childNodes));
    head.append(button);
    button.addEventListener("click", function () {
      var now = head.getAttribute("aria-sort");
      var next = !now ? head.dataset.first : now === "ascending" ? "descending" : "ascending";
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", next);
      var sign = next === "ascending" ? 1 : -1;
      function compare(one, other) {
        var a = one.cells[column].dataset.value, b = other.cells[column].dataset.value;
        if (a === b) return 0;
        if (a === "") return 1;  // what is missing comes last, either way
        if (b === "") return -1;
        return sign * (head.dataset.kind === "number" ? a - b : a.localeCompare(b));
      }
      Array.from(table.tBodies).forEach(function (body) {
        Array.from(body.rows).sort(compare).forEach(function (row) { body.append(row); });
      });
    });
  });
});
