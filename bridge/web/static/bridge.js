// bridge.js remembers which click brought a visitor, and says later who that visitor is.
//
//   <script src="https://bridge.example/bridge.js" data-key="pk_..."></script>
//   bridge.identify({external_id: "user_123", email: "jane@example.com"});
//   bridge.ids();           // {bridge_id: "...", ...}: goes into the metadata of a payment
//   bridge.consent(true);   // where the tag says data-consent="required"
//
// It must never harm the page: whatever is missing, blocked or odd, it does what is left and is
// silent. So it is plain ES5 and keeps to itself. Lines of comment and indentation are not served;
// the server writes into TABLE what the configured vendors use.
try { (function () {
  "use strict";

  var TABLE = __TABLE__;
  var NAME = "_bridge";
  var LIFE = 90 * 864e5;
  var LONGEST_ID = 255;
  var LONGEST_URL = 4096;
  var LONGEST_METADATA = 500;
  var MOST_MORE = 10;

  var queue = window.bridge;
  if (queue && queue.identify && queue.ids) return;

  // Without a tag nobody says where to report to, nor that consent is not needed.
  var tag = document.currentScript || document.querySelector('script[src*="bridge.js"]');
  var key = option("key");
  var domain = (option("domain") || "").replace(/^\./, "");
  var willing = tag && option("consent") === null;
  var endpoint = tag && tag.src.replace(/[?#].*/, "").replace(/[^\/]*$/, "clicks");

  // {id, at, clicks: {vendor: {click, at, passed}}}: null as long as nothing may be read. "passed"
  // is the cookie that an address won over: it is older, and news only once it has changed.
  var visitor = null;
  var waiting = [];
  var told = {};

  function option(name) {
    return tag && tag.getAttribute("data-" + name);
  }

  function attempt(work) {
    try {
      return work();
    } catch (_) {}
  }

  // ── what the page knows ──

  function decode(text) {
    return attempt(function () { return decodeURIComponent(text); }) || text;
  }

  // The last one of a name counts, as on the server.
  function pairs(text, separator) {
    var found = Object.create(null);
    text.split(separator).forEach(function (pair) {
      var at = pair.indexOf("=");
      var value = decode(pair.slice(at + 1));
      if (at > 0 && value) found[decode(pair.slice(0, at))] = value;
    });
    return found;
  }

  // The server would refuse the whole body for one id that is none.
  function usable(value) {
    if (typeof value === "number" && isFinite(value)) value = String(value);
    if (typeof value !== "string") return "";
    value = value.trim();
    return value.length > LONGEST_ID || /[\x00-\x1f\x7f]/.test(value) ? "" : value;
  }

  // A click is the id itself where it is of the vendor's usual kind, else an object of kinds.
  function landed(vendor, query) {
    var click;
    (vendor.landing || []).some(function (kinds) {
      var found = {};
      var names = Object.keys(kinds);
      names.forEach(function (name) { found[kinds[name]] = usable(query[name]); });
      if (!names.every(function (name) { return found[kinds[name]]; })) return false;
      Object.keys(query).filter(function (name) {
        return vendor.more && name.match(vendor.more) && usable(query[name]);
      }).slice(0, MOST_MORE).forEach(function (name) { found[name] = usable(query[name]); });
      click = Object.keys(found).length === 1 && found[vendor.kind] || found;
      return true;
    });
    return click;
  }

  function fromCookie(vendor, cookies) {
    return (vendor.cookies || []).map(function (name) { return usable(cookies[name]); })
      .filter(Boolean)[0];
  }

  // A cookie of JSON tells nothing new where it holds the very id that is known.
  function isNews(cookie, known) {
    return cookie && !(known && (cookie === known.passed || cookie === known.click ||
      cookie.indexOf('"' + known.click + '"') >= 0));
  }

  // ── what is remembered: in a cookie, which sub-domains can share, and in storage ──

  function remembered() {
    var best;
    [
      function () { return pairs(document.cookie, /; */)[NAME]; },
      function () { return localStorage.getItem(NAME); }
    ].forEach(function (read) {
      attempt(function () {
        var found = JSON.parse(read());
        var clicks = {};
        Object.keys(found.clicks).forEach(function (name) {
          var each = found.clicks[name];
          if (TABLE.vendors[name] && each.click && isFresh(each)) clicks[name] = each;
        });
        if (!usable(found.id) || !isFresh(found) || best && best.at >= found.at) return;
        best = {id: found.id, at: found.at, clicks: clicks};
      });
    });
    return best;
  }

  function isFresh(each) {
    return Math.abs(Date.now() - each.at) < LIFE;
  }

  function remember() {
    var text = JSON.stringify(visitor);
    attempt(function () { localStorage.setItem(NAME, text); });
    attempt(function () { setCookie(encodeURIComponent(text), LIFE / 1000, domain); });
  }

  function forget() {
    attempt(function () { localStorage.removeItem(NAME); });
    attempt(function () { sessionStorage.removeItem(NAME); });
    attempt(function () { setCookie("", 0, domain); });
    attempt(function () { setCookie("", 0, ""); });
  }

  function setCookie(text, age, domain) {
    document.cookie = NAME + "=" + text + ";path=/;max-age=" + age + ";SameSite=Lax" +
      (domain && ";domain=" + domain) + (location.protocol === "https:" ? ";Secure" : "");
  }

  function newId() {
    return attempt(function () { return crypto.getRandomValues(new Uint32Array(4)).join("-"); }) ||
      [Math.random(), Math.random()].join("-").replace(/0\./g, "");
  }

  // ── what the server is told ──

  // A beacon can carry no header, so the key goes into the address; text needs no preflight.
  function post(body) {
    if (!key) return;
    var url = endpoint + "?key=" + encodeURIComponent(key);
    var text = JSON.stringify(body);
    if (attempt(function () { return navigator.sendBeacon(url, text); })) return;
    attempt(function () {
      fetch(url, {method: "POST", body: text, keepalive: true, credentials: "omit"})
        .catch(function () {});
    });
  }

  // What follows a # stays in the browser: it may hold what nobody else is to see.
  function address(text) {
    return String(text).replace(/#.*/, "").slice(0, LONGEST_URL);
  }

  function isForeign(host) {
    var end = ("." + host).replace(/:.*/, "").slice(-domain.length - 1);
    return host && host !== location.host && !(domain && end === "." + domain);
  }

  // A visit is news when the visitor is, when a campaign brought them, or at the start of a session
  // when another site did: who comes back from the check-out of a payment provider has not landed.
  function isVisit(isNew) {
    if (!TABLE.campaigns) return false;
    var campaign = location.search.match(TABLE.campaigns) ? location.search : "";
    var last = attempt(function () { return sessionStorage.getItem(NAME); });
    var visits = isNew || campaign && campaign !== last ||
      typeof last !== "string" && isForeign(document.referrer.split("/")[2]);
    if (visits) attempt(function () { sessionStorage.setItem(NAME, campaign); });
    return visits;
  }

  function start() {
    var now = Date.now();
    var known = remembered();
    visitor = known || {id: newId(), at: now, clicks: {}};
    var query = pairs(location.search.slice(1).replace(/\+/g, " "), "&");
    var cookies = attempt(function () { return pairs(document.cookie, /; */); }) || {};
    var clicks = {};
    Object.keys(TABLE.vendors).forEach(function (name) {
      var vendor = TABLE.vendors[name];
      var old = visitor.clicks[name];
      var cookie = fromCookie(vendor, cookies);
      var click = landed(vendor, query) || isNews(cookie, old) && cookie;
      if (!click || old && JSON.stringify(click) === JSON.stringify(old.click)) return;
      clicks[name] = click;
      visitor.at = now;
      visitor.clicks[name] = {click: click, at: now, passed: cookie};
    });
    if (isVisit(!known) || Object.keys(clicks).length) {
      remember();
      // The server's clock is better than the visitor's, so what happens now carries no time.
      post({
        customer: {anonymous_id: visitor.id},
        clicks: clicks,
        context: {url: address(location.href), referrer: address(document.referrer)}
      });
    }
    waiting.splice(0).forEach(introduce);
  }

  // Clicks go along once more, each with the time of its landing: the first report may be lost.
  function introduce(customer) {
    var same = JSON.stringify(customer);
    if (told[same]) return;
    told[same] = true;
    remember();
    customer.anonymous_id = visitor.id;
    var landings = {};
    Object.keys(visitor.clicks).forEach(function (name) {
      var each = visitor.clicks[name];
      landings[each.at] = landings[each.at] || {};
      landings[each.at][name] = each.click;
    });
    var times = Object.keys(landings);
    if (!times.length) post({customer: customer});
    times.forEach(function (at) {
      var when = new Date(+at).toISOString();
      post({customer: customer, clicks: landings[at], occurred_at: when});
    });
  }

  // ── what the page may call ──

  function identify(given) {
    var customer = {};
    TABLE.ids.forEach(function (name) {
      var id = usable(given[name]);
      if (id) customer[name] = id;
    });
    if (!Object.keys(customer).length) return;
    if (visitor) introduce(customer);
    else waiting.push(customer);
  }

  function ids() {
    var found = {};
    attempt(function () {
      if (!visitor) return;
      remember();
      found.bridge_id = visitor.id;
      Object.keys(visitor.clicks).forEach(function (name) {
        var click = visitor.clicks[name].click;
        var text = typeof click === "string" ? click : JSON.stringify(click);
        var label = TABLE.vendors[name].name;
        if (label && text.length <= LONGEST_METADATA) found[label] = text;
      });
    });
    return found;
  }

  function consent(given) {
    willing = given === true;
    if (!willing) {
      visitor = null;
      told = {};
      forget();
    } else if (!visitor) start();
  }

  function push() {
    [].forEach.call(arguments, function (call) {
      attempt(function () { api[call[0]].apply(null, [].slice.call(call, 1)); });
    });
  }

  function quiet(work) {
    return function () {
      var given = arguments;
      return attempt(function () { return work.apply(null, given); });
    };
  }

  var api = {identify: quiet(identify), ids: ids, consent: quiet(consent), push: quiet(push)};
  var calls = Array.isArray(queue) ? queue : [];
  // A thing of the page's own that has our name stays; an element of that id is only a shortcut.
  if (!queue || calls === queue || queue.nodeType) attempt(function () { window.bridge = api; });
  push.apply(null, calls);
  if (willing && !visitor) attempt(start);
})(); } catch (_) {}
