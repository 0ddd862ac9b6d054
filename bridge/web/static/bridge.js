// bridge.js remembers which click brought a visitor, and says later who that visitor is.
//
//   <script src="https://bridge.example/bridge.js" data-key="pk_..."></script>
//   bridge.identify({external_id: "user_123", email: "jane@example.com"});
//   bridge.ids();           // {bridge_id: "...", ...}: goes into the metadata of a payment
//   bridge.consent(true);   // where the tag says data-consent="required"
//
// It must never harm the page: whatever is missing, blocked or odd, it does what is left and is
// silent. So it is plain ES5 and keeps to itself. Lines of comment, indentation and spaces around
// operators are not served; the server writes into TABLE what the configured vendors use.
try { (function () {
  "use strict";

  var TABLE = __TABLE__;
  var NAME = "_bridge";
  var LIFE = 90 * 864e5;

  var queue = window.bridge;
  if (queue && queue.identify && queue.ids) return;

  // Without a tag nobody says where to report to, nor that consent is not needed.
  var tag = document.currentScript || document.querySelector('script[src*="bridge.js"]');
  var key = option("key");
  var domain = (option("domain") || "").replace(/^\./, "");
  var willing = tag && option("consent") === null;
  var endpoint = tag && tag.src.replace(/[^\/?#]*([?#].*)?$/, "clicks");

  // {id, at, clicks: {vendor: {click, at, passed}}}: null as long as nothing may be read. "passed"
  // is the cookie that an address won over: it is older, and news only once it has changed.
  var visitor = null;
  // What was last seen in the browser's memory: where it is gone, somebody took it away.
  var kept = null;
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

  // The last one of a name counts, as on the server; it is "" where it can be no id.
  function pairs(text, separator) {
    var found = Object.create(null);
    text.split(separator).forEach(function (pair) {
      var at = pair.indexOf("=");
      var value = decode(pair.slice(at + 1));
      if (at > 0 && value) found[decode(pair.slice(0, at))] = usable(value);
    });
    return found;
  }

  // The server would refuse the whole body for one id that is none.
  function usable(value) {
    if (typeof value === "number" && isFinite(value)) value = String(value);
    if (typeof value !== "string") return "";
    value = value.trim();
    return /^[^\x00-\x1f\x7f]{1,255}$/.test(value) &&
      !value.toLowerCase().match(TABLE.nobody) ? value : "";
  }

  // A click is the id itself where it is of the vendor's usual kind, else an object of kinds.
  function landed(vendor, query) {
    var click;
    (vendor.landing || []).some(function (kinds) {
      var found = {};
      if (!Object.keys(kinds).every(function (name) {
        return found[kinds[name]] = query[name];
      })) return false;
      Object.keys(query).filter(function (name) {
        return vendor.more && name.match(vendor.more) && query[name];
      }).slice(0, 10).forEach(function (name) { found[name] = query[name]; });
      return click = Object.keys(found).length === 1 && found[vendor.kind] || found;
    });
    return click;
  }

  function fromCookie(vendor, cookies) {
    return (vendor.cookies || []).map(function (name) { return cookies[name]; }).filter(Boolean)[0];
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
      function () { return decode(document.cookie.match(/(^|\s)_bridge=([^;]*)/)[2]); },
      function () { return localStorage.getItem(NAME); }
    ].forEach(function (read) {
      attempt(function () {
        var found = JSON.parse(read());
        Object.keys(found.clicks).forEach(function (name) {
          var each = found.clicks[name];
          if (!TABLE.vendors[name] || !each.click || !isFresh(each)) delete found.clicks[name];
        });
        if (usable(found.id) && isFresh(found) && !(best && best.at >= found.at)) best = found;
      });
    });
    return best;
  }

  function isFresh(each) {
    return Math.abs(Date.now() - each.at) < LIFE;
  }

  function keep() {
    var text = JSON.stringify(visitor);
    attempt(function () { localStorage.setItem(NAME, text); });
    attempt(function () { setCookie(encodeURIComponent(text), LIFE / 1000, domain); });
    kept = remembered();
  }

  // Another tab may have learnt more since, may have been told to forget, or have begun anew.
  function remember() {
    var found = visitor && remembered();
    if (found) {
      if (found.id === visitor.id) Object.keys(visitor.clicks).forEach(function (name) {
        var each = visitor.clicks[name];
        if (!found.clicks[name] || found.clicks[name].at < each.at) found.clicks[name] = each;
      });
      visitor = found;
    } else if (kept) consent(false);
    if (visitor) keep();
    return visitor;
  }

  function setCookie(text, age, domain) {
    document.cookie = NAME + "=" + text + ";path=/;max-age=" + age + ";SameSite=Lax" +
      (domain && ";domain=" + domain) + (/^https/.test(location) ? ";Secure" : "");
  }

  function newId() {
    return attempt(function () { return crypto.getRandomValues(new Uint32Array(4)).join("-"); }) ||
      (Math.random() + "-" + Math.random()).replace(/0\./g, "");
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
    return String(text).replace(/#.*/, "").slice(0, 4096);
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
    kept = remembered();
    visitor = kept || {id: newId(), at: now, clicks: {}};
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
    if (isVisit(!kept) || Object.keys(clicks).length) {
      keep();
      // The server's clock is better than the visitor's, so what happens now carries no time.
      post({
        customer: {anonymous_id: visitor.id},
        clicks: clicks,
        context: {url: address(location.href), referrer: address(document.referrer)}
      });
    }
    resume();
  }

  function resume() {
    waiting.splice(0).forEach(introduce);
  }

  // Clicks go along once more, each with the time of its landing: the first report may be lost.
  function introduce(text) {
    if (told[text]) return;
    if (!remember()) return waiting.push(text);
    // A beacon is taken and lost where there is no network.
    if (attempt(function () { return navigator.onLine === false; })) waiting.push(text);
    else told[text] = true;
    var customer = JSON.parse(text);
    customer.anonymous_id = visitor.id;
    var landings = {};
    Object.keys(visitor.clicks).forEach(function (name) {
      var each = visitor.clicks[name];
      (landings[each.at] = landings[each.at] || {})[name] = each.click;
    });
    var times = Object.keys(landings);
    if (!times.length) post({customer: customer});
    times.forEach(function (at) {
      var when = new Date(+at).toISOString();
      // The server would refuse the whole body for the time of a clock that is far out.
      when = /^20[2-9]/.test(when) ? when : undefined;
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
    if (Object.keys(customer).length) introduce(JSON.stringify(customer));
  }

  function ids() {
    var found = {};
    attempt(function () {
      if (!remember()) return;
      found.bridge_id = visitor.id;
      Object.keys(visitor.clicks).forEach(function (name) {
        var click = visitor.clicks[name].click;
        var text = typeof click === "string" ? click : JSON.stringify(click);
        var label = TABLE.vendors[name].name;
        // Stripe takes no more.
        if (label && text.length <= 500) found[label] = text;
      });
    });
    return found;
  }

  function consent(given) {
    willing = given === true;
    if (!willing) {
      visitor = kept = null;
      told = {};
      attempt(function () { localStorage.removeItem(NAME); });
      attempt(function () { sessionStorage.removeItem(NAME); });
      attempt(function () { setCookie("", 0, domain); });
      attempt(function () { setCookie("", 0, ""); });
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
  attempt(function () { addEventListener("online", quiet(resume)); });
  push.apply(null, calls);
  if (willing && !visitor) attempt(start);
})(); } catch (_) {}
