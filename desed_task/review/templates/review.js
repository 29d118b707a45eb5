"use strict";

// ---- Answers and their table. No function here uses the page.
//
// A row is an event to answer. An answer is {verdict, onset, offset, label, added}: the verdict is
// "right", "wrong" or "" (open), `added` are further events {onset, offset, label} in the row's window.
// All times are seconds in the row's file; those of the table are seconds in its recording.

const COLUMNS = ["filename", "onset", "offset", "event_label", "reviewed_from", "reviewed_to",
  "answer", "found_onset", "found_offset", "found_label"];

/** The rows of the page's content, and the events without a row. */
function readContent(content) {
  const audios = content.audios.map(([filename, start]) => ({filename, start}));
  const common = ([audio, kind, label, onset, offset]) => {
    const [name, value, unanswered] = content.kinds[kind];
    return {audio: audios[audio], kind: name, valueName: value, unanswered,
      label: content.labels[label], onset, offset};
  };
  const rows = content.rows.map((each, index) => {
    const [value, name, from, to] = each.slice(5);
    const row = {...common(each), index, value, name, from, to};
    return {...row, key: rowKey(row.audio.filename, shifted(row, row.onset), shifted(row, row.offset), row.label)};
  });
  return {rows, others: content.others.map(common)};
}

function shifted(row, seconds) {
  return String(Number((seconds + row.audio.start).toFixed(6)));
}

function rowKey(filename, onset, offset, label) {
  return JSON.stringify([filename, onset, offset, label]);
}

function openAnswer(row) {
  return {verdict: "", onset: row.onset, offset: row.offset, label: row.label, added: []};
}

/** Rows and events without a row by their audio. */
function byAudio(rows, others) {
  const found = new Map();
  for (const each of [...rows, ...others]) {
    if (!found.has(each.audio)) found.set(each.audio, []);
    found.get(each.audio).push(each);
  }
  return found;
}

/** Events without an answer that overlap the window of a row. */
function openEvents(row, neighbours, answers) {
  return neighbours.filter(each => each !== row && each.unanswered === "open"
    && !answers.get(each.key)?.verdict && each.onset < row.to && each.offset > row.from);
}

/** The stretches [from, to] of a row's window that no event without an answer overlaps. */
function stretches(row, neighbours, answers) {
  let found = [[row.from, row.to]];
  for (const {onset, offset} of openEvents(row, neighbours, answers)) {
    found = found.flatMap(([from, to]) => [[from, Math.min(to, onset)], [Math.max(from, offset), to]])
      .filter(([from, to]) => to > from);
  }
  return found;
}

function answerName(row, answer) {
  if (answer.verdict !== "right") return answer.verdict;
  const same = answer.onset === row.onset && answer.offset === row.offset && answer.label === row.label;
  return same ? "right" : "changed";
}

/** The lines of the table for an answered row: one for each stretch and event in it.
 *
 * An event that is in no stretch has a line with a stretch of no length, which is not used as a label.
 */
function tableLines(row, answer, neighbours, answers) {
  const reviewed = stretches(row, neighbours, answers);
  const found = [shifted(row, row.onset), shifted(row, row.offset), row.label];
  const time = seconds => shifted(row, seconds);
  const line = (event, [from, to], name) => [row.audio.filename,
    ...(event ? [time(event.onset), time(event.offset), event.label] : ["", "", ""]),
    time(from), time(to), name, ...found];
  const within = (event, [from, to]) => event.onset < to && event.offset > from;
  const nowhere = event => [event.onset, event.onset];
  const main = answer.verdict === "right" ? answer : null;
  const name = answerName(row, answer);
  const lines = reviewed.map(span => line(main && within(main, span) ? main : null, span, name));
  if (!lines.some(([, onset]) => onset) && main) lines.push(line(main, nowhere(main), name));
  if (!lines.length) lines.push(line(null, nowhere(row), name));
  for (const event of answer.added) {
    const spans = reviewed.filter(span => within(event, span));
    for (const span of spans.length ? spans : [nowhere(event)]) lines.push(line(event, span, "added"));
  }
  for (const event of neighbours.filter(each => each.unanswered === "right")) {
    for (const span of reviewed.filter(span => within(event, span))) lines.push(line(event, span, "known"));
  }
  return lines;
}

function tableText(rows, others, answers) {
  const groups = byAudio(rows, others);
  const answered = rows.filter(row => answers.get(row.key)?.verdict).sort(compareTimes);
  const lines = answered.flatMap(row => tableLines(row, answers.get(row.key), groups.get(row.audio), answers));
  const field = text => /["\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  return [COLUMNS, ...lines].map(line => line.map(field).join("\t") + "\n").join("");
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The order of rows by recording and time. */
function compareTimes(a, b) {
  return compare(a.audio.filename, b.audio.filename) || a.audio.start - b.audio.start || a.onset - b.onset;
}

/** Fields of each line of a table that is separated by tabs. */
function parseTable(text) {
  const lines = [[""]];
  for (const [, quoted, plain, end] of text.replace(/^\ufeff/, "").matchAll(/(?:"((?:[^"]|"")*)"|([^\t\r\n]*))(\t|\r?\n|$)/g)) {
    const line = lines.at(-1);
    line[line.length - 1] = quoted === undefined ? plain : quoted.replaceAll('""', '"');
    if (end === "\t") line.push("");
    else if (end) lines.push([""]);
  }
  return lines.filter(line => line.length > 1);
}

/** The answers of a saved table, and the number of its lines that are of no row. Throws an Error. */
function readTable(text, rows) {
  const [header, ...lines] = parseTable(text);
  const places = COLUMNS.map(name => (header ?? []).indexOf(name));
  const missing = COLUMNS.filter((_, index) => places[index] < 0);
  if (missing.length) throw new Error(`expected a table that this page saved, got none: missing column ${missing[0]}`);
  const known = new Map(rows.map(row => [row.key, row]));
  const answers = new Map();
  let unknown = 0;
  for (const line of lines) {
    const [filename, onset, offset, label, , , name, ...found] = places.map(place => line[place] ?? "");
    const row = known.get(rowKey(filename, ...found));
    if (row && name === "known") continue;
    if (!row || !["right", "changed", "wrong", "added"].includes(name)) {
      unknown += 1;
      continue;
    }
    const answer = answers.get(row.key) ?? openAnswer(row);
    answers.set(row.key, answer);
    const event = {onset: Number(onset) - row.audio.start, offset: Number(offset) - row.audio.start, label};
    const same = each => each.onset === event.onset && each.offset === event.offset && each.label === label;
    if (name === "added") {
      if (!answer.added.some(same)) answer.added.push(event);
    } else {
      answer.verdict = name === "wrong" ? "wrong" : "right";
      if (name === "changed" && onset) Object.assign(answer, event);
    }
  }
  return {answers, unknown};
}

/** Why a name can be no class, or "". */
function nameProblem(name) {
  if (!name || name !== name.trim() || /[,\p{Cc}\u2028\u2029]/u.test(name)) return "expected a name without commas and control characters";
  const reserved = ["nan", "na", "none"].includes(name.toLowerCase()) || ["filename", "onset", "offset"].includes(name);
  return reserved ? "expected another name: this one has a meaning in tables" : "";
}

if (typeof module !== "undefined") module.exports = {readContent, tableText, readTable, nameProblem};

// ---- The page.

const ROW_PIXELS = 58;
const EDGE_STEP = 0.05;
const MIN_EVENT = 0.01;

function start(content) {
  const {rows, others} = readContent(content);
  const rowsByTime = [...rows].sort(compareTimes);
  const groups = byAudio(rows, others);
  const store = `sed-review ${location.pathname} `;
  const get = id => document.getElementById(id);
  const labels = [...content.labels];
  let answers = new Map();
  let history = [];
  let visible = [];
  let current = null;
  let active = -1;  // -1: the row's event, else an added one
  let saved = true, kept = true;

  const colour = label => `hsl(${(labels.indexOf(label) * 137.5) % 360} 65% 42%)`;
  const answerOf = row => answers.get(row.key) ?? openAnswer(row);
  const clock = (row, seconds) => {
    const total = Number(shifted(row, seconds));
    const rest = (total % 60).toFixed(2).padStart(5, "0");
    const minutes = Math.floor(total / 60);
    return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
  };

  function element(tag, className, text, parent) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    parent?.append(made);
    return made;
  }

  // -- Storage

  function keep(keys) {
    saved = false;
    try {
      for (const key of keys) {
        if (answers.has(key)) localStorage.setItem(store + key, JSON.stringify(answers.get(key)));
        else localStorage.removeItem(store + key);
      }
    } catch {
      kept = false;
    }
  }

  function restore() {
    try {
      for (const {key} of rows) {
        const text = localStorage.getItem(store + key);
        if (text) take(key, JSON.parse(text));
      }
    } catch {
      kept = false;
    }
  }

  function take(key, answer) {
    answers.set(key, answer);
    [answer, ...answer.added].forEach(event => addLabel(event.label));
  }

  function save() {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([tableText(rows, others, answers)], {type: "text/tab-separated-values"}));
    link.download = content.table;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    saved = true;
    showStatus(`saved: ${content.table} in the folder of downloads`);
  }

  async function load(file) {
    try {
      const found = readTable(await file.text(), rows);
      const before = new Map(answers);
      found.answers.forEach((answer, key) => take(key, answer));
      history.push({all: before, row: current});
      keep(answers.keys());
      refresh();
      const rest = found.unknown ? `; ${found.unknown} lines are of no event of this page` : "";
      showStatus(`${file.name}: ${found.answers.size} answers${rest}`);
    } catch (error) {
      showStatus(`${file.name}: ${error.message}`);
    }
  }

  // -- Answers

  function change(row, changes) {
    history.push({key: row.key, answer: answers.get(row.key), row});
    answers.set(row.key, {...answerOf(row), ...changes});
    keep([row.key]);
  }

  function answer(changes) {
    if (!current) return;
    change(current, changes);
    next(1, true);
  }

  function undo() {
    const last = history.pop();
    if (!last) return;
    const keys = last.all ? [...answers.keys()] : [last.key];
    if (last.all) answers = last.all;
    else if (last.answer) answers.set(last.key, last.answer);
    else answers.delete(last.key);
    keep(keys);
    filter();
    choose(last.row, false);
  }

  function setClass(label) {
    if (!current) return;
    if (active < 0) return answer({verdict: "right", label});
    setEvent(active, {label});
  }

  /** Change an event of the current row; a moved edge of the row's own event says that it is right. */
  function setEvent(index, changes) {
    const own = answerOf(current);
    if (index < 0) change(current, {...changes, verdict: "right"});
    else change(current, {added: own.added.map((event, n) => n === index ? {...event, ...changes} : event)});
    refresh();
  }

  function addEvent(onset, offset) {
    if (!current) return;
    const own = answerOf(current);
    const event = {...bounded(onset, offset), label: own.label};
    active = own.added.length;
    change(current, {added: [...own.added, event]});
    refresh();
  }

  function removeEvent(index) {
    if (!current || index < 0) return;
    change(current, {added: answerOf(current).added.filter((_, n) => n !== index)});
    active = -1;
    refresh();
  }

  function bounded(onset, offset) {
    const round = seconds => Math.round(seconds * 1000) / 1000;
    const first = Math.max(current.from, Math.min(onset, current.to - MIN_EVENT));
    return {onset: round(first), offset: round(Math.min(current.to, Math.max(offset, first + MIN_EVENT)))};
  }

  function moveEdge(edge, seconds) {
    if (!current) return;
    const own = answerOf(current);
    const event = active < 0 ? own : own.added[active];
    setEvent(active, moved(event, edge, event[edge] + seconds));
  }

  /** Times of an event with one edge moved; an edge outside of the window does not change. */
  function moved(event, edge, seconds) {
    const limit = edge === "onset" ? Math.min(event.offset, current.to) - MIN_EVENT : Math.max(event.onset, current.from) + MIN_EVENT;
    const inside = Math.max(current.from, Math.min(current.to, seconds));
    const time = edge === "onset" ? Math.min(inside, limit) : Math.max(inside, limit);
    return {[edge]: Math.round(time * 1000) / 1000};
  }

  // -- List

  function addLabel(label) {
    if (!labels.includes(label)) labels.push(label);
  }

  function filter() {
    const wanted = {label: get("class").value, kind: get("kind").value, state: get("state").value};
    const part = get("recording").value.toLowerCase();
    visible = (get("order").value === "time" ? rowsByTime : rows).filter(row => (!wanted.label || row.label === wanted.label)
      && (!wanted.kind || row.kind === wanted.kind)
      && (!part || row.audio.filename.toLowerCase().includes(part))
      && (wanted.state === "all" || (wanted.state === "answered") === Boolean(answerOf(row).verdict)));
  }

  function showList() {
    const list = get("list"), space = get("space");
    space.style.height = `${visible.length * ROW_PIXELS}px`;
    const first = Math.max(0, Math.floor(list.scrollTop / ROW_PIXELS) - 3);
    const last = Math.min(visible.length, first + Math.ceil(list.clientHeight / ROW_PIXELS) + 7);
    space.replaceChildren(...visible.slice(first, last).map((row, n) => listRow(row, first + n)));
  }

  function listRow(row, position) {
    const own = answerOf(row), made = element("div", row === current ? "row chosen" : "row");
    made.style.top = `${position * ROW_PIXELS}px`;
    made.setAttribute("role", "option");
    made.setAttribute("aria-selected", row === current);
    const mark = element("span", `mark ${own.verdict}-answer`, {right: "✓", wrong: "✗"}[own.verdict] ?? "", made);
    mark.title = own.verdict || "open";
    const thumb = element("img", "thumb", undefined, made);
    thumb.loading = "lazy";
    thumb.alt = "";
    thumb.src = `${content.folder}/${row.name}.jpg`;
    const text = element("div", "text", undefined, made);
    const title = element("div", "", undefined, text);
    element("b", "", own.label, title).style.color = colour(own.label);
    title.append(` ${row.value.toFixed(2)}, ${row.kind}`);
    element("div", "", `${clock(row, own.onset)} – ${clock(row, own.offset)}`, text);
    element("div", "file", `\u200e${row.audio.filename}`, text).title = row.audio.filename;
    made.onclick = () => choose(row, true);
    return made;
  }

  function choose(row, play) {
    if (row !== current) active = -1;
    current = row ?? null;
    if (row) {
      const top = visible.indexOf(row) * ROW_PIXELS, list = get("list");
      if (top >= 0 && (top < list.scrollTop || top + ROW_PIXELS > list.scrollTop + list.clientHeight)) {
        list.scrollTop = Math.max(0, top - list.clientHeight / 3);
      }
      const sound = get("sound");
      sound.src = `${content.folder}/${row.name}.flac`;
      get("picture").src = `${content.folder}/${row.name}.jpg`;
      if (play) sound.play().catch(() => {});
    }
    show();
  }

  /** Go to the next row (or the one before), with `open` to the next one without an answer. */
  function next(step, open) {
    let place = visible.indexOf(current);
    const from = place;
    filter();
    if (visible[place] !== current) place = visible.includes(current) ? visible.indexOf(current) : from - step;
    do place += step; while (open && visible[place] && answerOf(visible[place]).verdict);
    const found = visible[place];
    if (found) choose(found, get("auto").checked);
    else show();
  }

  // -- The current row

  const share = seconds => 100 * (seconds - current.from) / (current.to - current.from);

  function refresh() {
    filter();
    show();
  }

  function show() {
    showList();
    showStatus();
    get("detail").style.visibility = current ? "visible" : "hidden";
    if (!current) return;
    const own = answerOf(current);
    get("label").textContent = own.label;
    get("label").style.color = colour(own.label);
    get("about").textContent = `${current.kind}, ${current.valueName} ${current.value.toFixed(2)}`
      + (own.label === current.label ? "" : `; found: ${current.label}`)
      + (own.verdict ? `; answer: ${answerName(current, own)}` : "");
    get("where").textContent = `${current.audio.filename}: ${clock(current, own.onset)} – ${clock(current, own.offset)}`;
    showMarks(own);
    showAxis();
    showNeighbours();
    showEvents(own);
    fillClasses(get("other"), own.label);
    get("right").classList.toggle("right-answer", own.verdict === "right");
    get("wrong").classList.toggle("wrong-answer", own.verdict === "wrong");
  }

  function showMarks(own) {
    const marks = get("marks");
    marks.replaceChildren();
    for (const [height, text] of content.ticks) {
      element("span", "hz", text, marks).style.bottom = `${100 * height}%`;
    }
    [own, ...own.added].forEach((event, n) => {
      const index = n - 1, span = element("div", index < 0 && own.verdict === "wrong" ? "span no" : "span", undefined, marks);
      const begin = Math.max(event.onset, current.from), end = Math.min(event.offset, current.to);
      span.style.left = `${share(begin)}%`;
      span.style.width = `${share(end) - share(begin)}%`;
      span.style.setProperty("--colour", colour(event.label));
      span.dataset.event = index;
      for (const edge of ["onset", "offset"]) {
        if (event[edge] < current.from || event[edge] > current.to) continue;
        const handle = element("div", `edge ${edge}`, undefined, span);
        handle.title = edge;
        handle.onpointerdown = down => drag(down, index, edge);
      }
    });
  }

  function showAxis() {
    const axis = get("axis"), length = current.to - current.from;
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20].find(each => length / each <= 10) ?? 30;
    const begin = current.from + current.audio.start;
    axis.replaceChildren();
    for (let n = Math.ceil(begin / step - 1e-6); n * step < begin + length * 0.97; n += 1) {
      const seconds = n * step - current.audio.start;
      element("span", "", clock(current, seconds), axis).style.left = `${share(seconds)}%`;
    }
  }

  function showNeighbours() {
    const lanes = get("lanes");
    lanes.replaceChildren();
    const near = groups.get(current.audio).filter(each => each !== current
      && answerOf(each).verdict !== "wrong" && (each.unanswered !== "none" || answerOf(each).verdict));
    const made = new Map();
    for (const each of near) {
      const event = each.key ? answerOf(each) : each, state = event.verdict || each.unanswered;
      if (event.onset >= current.to || event.offset <= current.from) continue;
      if (!made.has(event.label)) made.set(event.label, element("div", "lane", undefined, lanes));
      const bar = element(each.key ? "button" : "span", state === "open" ? "other open" : "other", event.label, made.get(event.label));
      const begin = Math.max(event.onset, current.from), end = Math.min(event.offset, current.to);
      bar.style.left = `${share(begin)}%`;
      bar.style.width = `${share(end) - share(begin)}%`;
      bar.style.setProperty("--colour", colour(event.label));
      bar.title = `${event.label}, ${clock(current, event.onset)} – ${clock(current, event.offset)}, ${state}`;
      if (each.key) bar.onclick = () => choose(each, true);
    }
    const open = openEvents(current, groups.get(current.audio), answers).length;
    get("note").textContent = open
      ? `Other events in this strip that have no answer (dashed): ${open}. Their seconds are not used until they have one.` : "";
  }

  function showEvents(own) {
    get("events").replaceChildren();
    own.added.forEach((event, index) => {
      const line = element("div", "", undefined, get("events"));
      const select = element("select", "", undefined, line);
      fillClasses(select, event.label);
      select.onchange = () => {
        active = index;
        pickClass(select, label => setEvent(index, {label}));
      };
      element("span", "", `added: ${clock(current, event.onset)} – ${clock(current, event.offset)}`, line);
      element("button", "", "Remove", line).onclick = () => removeEvent(index);
    });
  }

  function fillClasses(select, chosen) {
    select.replaceChildren();
    labels.forEach((label, index) => {
      const option = element("option", "", index < 9 ? `${index + 1} ${label}` : label, select);
      option.value = `=${label}`;
      option.selected = label === chosen;
    });
    element("option", "", "new class …", select).value = "";
  }

  function pickClass(select, take) {
    select.blur();
    if (select.value) return take(select.value.slice(1));
    const name = (prompt("Name of the class") ?? "").trim().normalize("NFC");
    const problem = nameProblem(name);
    if (name && problem) alert(problem);
    if (problem) return show();
    addLabel(name);
    take(name);
  }

  function showStatus(text) {
    const n = rows.filter(row => answers.get(row.key)?.verdict).length;
    const store = kept ? "answers are kept in this browser until you save them" : "this browser keeps no answers: save before you leave";
    get("status").textContent = `${visible.length} of ${rows.length} events are listed; ${n} have an answer; ${text ?? (saved ? "" : store)}`.replace(/; $/, "");
  }

  // -- Pointer, sound, keys

  function secondsAt(event) {
    const box = get("strip").getBoundingClientRect();
    return current.from + (current.to - current.from) * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  }

  function follow(down, move, end) {
    const strip = get("strip");
    strip.setPointerCapture(down.pointerId);
    strip.onpointermove = move;
    strip.onpointerup = strip.onpointercancel = up => {
      strip.onpointermove = strip.onpointerup = strip.onpointercancel = null;
      end(up);
    };
  }

  function drag(down, index, edge) {
    down.stopPropagation();
    down.preventDefault();
    active = index;
    const span = down.target.parentElement;
    const event = index < 0 ? answerOf(current) : answerOf(current).added[index];
    const times = move => ({...event, ...moved(event, edge, secondsAt(move))});
    follow(down, move => {
      const {onset, offset} = times(move);
      span.style.left = `${share(Math.max(onset, current.from))}%`;
      span.style.width = `${share(Math.min(offset, current.to)) - share(Math.max(onset, current.from))}%`;
    }, up => setEvent(index, moved(event, edge, secondsAt(up))));
  }

  get("strip").onpointerdown = down => {
    if (!current || down.button) return;
    down.preventDefault();
    document.activeElement?.blur();
    const first = secondsAt(down);
    follow(down, () => {}, up => {
      const last = secondsAt(up);
      if (Math.abs(up.clientX - down.clientX) > 5) return addEvent(Math.min(first, last), Math.max(first, last));
      get("sound").currentTime = last - current.from;
      get("sound").play().catch(() => {});
    });
  };

  const sound = get("sound");
  const showHead = () => {
    const head = get("head"), length = current ? current.to - current.from : 1;
    head.style.display = current && sound.currentTime ? "block" : "none";
    head.style.left = `${100 * sound.currentTime / length}%`;
    if (!sound.paused) requestAnimationFrame(showHead);
  };
  sound.onplay = sound.onpause = sound.onseeked = sound.onemptied = showHead;

  function play() {
    if (!sound.paused) return sound.pause();
    sound.currentTime = 0;
    sound.play().catch(() => {});
  }

  function addAtHead() {
    if (!current) return;
    const at = sound.currentTime ? current.from + sound.currentTime : (current.from + current.to) / 2;
    addEvent(at, at + Math.min(1, (current.to - current.from) / 5));
  }

  function clear() {
    if (!current || !answers.has(current.key)) return;
    change(current, openAnswer(current));
    active = -1;
    refresh();
  }

  const keys = {
    " ": play, r: () => answer({verdict: "right"}), w: () => answer({verdict: "wrong"}), a: addAtHead,
    c: () => get("other").focus(), 0: clear, Delete: () => removeEvent(active), Backspace: () => removeEvent(active),
    ArrowDown: () => next(1, false), ArrowUp: () => next(-1, false),
  };
  document.onkeydown = event => {
    const control = event.ctrlKey || event.metaKey, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.altKey) return;
    if (control && (key === "z" || key === "s")) {
      event.preventDefault();
      return key === "z" ? undo() : save();
    }
    if (control) return;
    if (event.target.matches?.("input:not([type=checkbox]), select, textarea")) {
      if (key === "Escape" || key === "Enter") event.target.blur();
      return;
    }
    const edge = event.shiftKey ? "offset" : "onset";
    const steps = {ArrowLeft: -EDGE_STEP, ArrowRight: EDGE_STEP};
    if (key in steps) moveEdge(edge, steps[key]);
    else if (/^[1-9]$/.test(key) && labels[key - 1] !== undefined) setClass(labels[key - 1]);
    else if (key in keys) keys[key]();
    else return;
    event.preventDefault();
  };

  const buttons = {undo, save, play, right: keys.r, wrong: keys.w, add: addAtHead, clear, load: () => get("file").click()};
  for (const [id, action] of Object.entries(buttons)) {
    get(id).onclick = () => {
      get(id).blur();  // a key is then not the button's
      action();
    };
  }
  get("file").onchange = () => {
    if (get("file").files.length) load(get("file").files[0]);
    get("file").value = "";
  };
  get("other").onchange = () => pickClass(get("other"), setClass);
  get("list").onscroll = () => requestAnimationFrame(showList);
  window.onresize = showList;
  window.onbeforeunload = event => {
    if (!saved && !kept) event.preventDefault();
  };

  function fillFilter(id, names) {
    const counts = new Map();
    names.forEach(name => counts.set(name, (counts.get(name) ?? 0) + 1));
    element("option", "", `all (${names.length})`, get(id)).value = "";
    for (const name of [...counts.keys()].sort(compare)) element("option", "", `${name} (${counts.get(name)})`, get(id)).value = name;
  }
  fillFilter("class", rows.map(row => row.label));
  fillFilter("kind", rows.map(row => row.kind));
  for (const id of ["class", "kind", "state", "recording", "order"]) {
    get(id).oninput = () => {
      filter();
      get("list").scrollTop = 0;
      choose(visible[0], false);
      if (get(id).matches("select")) get(id).blur();
    };
  }

  restore();
  filter();
  choose(visible.find(row => !answerOf(row).verdict) ?? visible[0], false);
}

if (typeof document !== "undefined") start(JSON.parse(document.getElementById("content").textContent));
