extension ComparisonReport {
  /// Three sentences' worth of figures at the top: which model is smallest, closest, fastest.
  var highlights: Markup {
    Markup("div", ["class": "tiles"], [smallest, closest, fastest].compactMap { $0 })
  }

  private var smallest: Markup? {
    guard let model = models.min(by: { $0.fileByteCount < $1.fileByteCount }), model.fileByteCount > 0 else {
      return nil
    }
    let ratio = Double(base.fileByteCount) / Double(model.fileByteCount)
    return tile(
      "smallest", NumberFormat.bytes(model.fileByteCount),
      "\(model.name), \(comparison(ratio)) the base")
  }

  private var closest: Markup? {
    let candidates = models.compactMap { model in model.divergence.map { (model, $0) } }
    guard let (model, divergence) = candidates.min(by: { $0.1.mean < $1.1.mean }) else { return nil }
    let agreement = NumberFormat.fixed(100 * divergence.top1Agreement, 1)
    return tile(
      "closest", "KL " + NumberFormat.significant(divergence.mean, 3),
      "\(model.name), same first choice in \(agreement) % of predictions")
  }

  private var fastest: Markup? {
    let candidates = models.compactMap { model in model.speed.map { (model, $0.decode) } }
    guard let (model, speed) = candidates.max(by: { $0.1 < $1.1 }) else { return nil }
    var detail = model.name
    if let other = base.speed?.decode, other > 0 {
      detail += ", \(NumberFormat.significant(speed / other, 2)) times the base's speed"
    }
    return tile("fastest writer", NumberFormat.rate(speed) + " tokens/s", detail)
  }

  private func comparison(_ ratio: Double) -> String {
    ratio >= 1
      ? NumberFormat.significant(ratio, 2) + " times smaller than"
      : NumberFormat.significant(1 / ratio, 2) + " times the size of"
  }

  private func tile(_ name: String, _ value: String, _ detail: String) -> Markup {
    Markup(
      "div", ["class": "tile"],
      [
        Markup("span", ["class": "kind"], text: name), Markup("strong", text: value),
        Markup("span", ["class": "detail"], text: detail),
      ])
  }

  /// Colours and spacing. Blue marks what is measured, grey the base; both keep their contrast in the dark.
  static let styleSheet: StaticString = """
    :root{color-scheme:light dark;--page:#f6f5f2;--card:#fff;--ink:#1d1c1a;--soft:#62605b;--line:#e3e1dc;--axis:#b9b6af;\
    --mark:#2a78d6;--base:#8d8a83}
    @media(prefers-color-scheme:dark){:root{--page:#141413;--card:#1e1e1c;--ink:#ecebe7;--soft:#a5a39c;--line:#353431;\
    --axis:#5c5a55;--mark:#4b93ea;--base:#8d8a83}}
    *{box-sizing:border-box}
    body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
    main{max-width:1000px;margin:0 auto;padding:40px 20px 64px}
    h1{font-size:28px;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
    h2{font-size:17px;margin:0 0 2px}h3{font-size:14px;margin:20px 0 6px}
    header p,.caption{margin:0;color:var(--soft)}.caption{font-size:14px;margin-bottom:12px}
    section,.tile{background:var(--card);border:1px solid var(--line);border-radius:10px}
    section{padding:20px 22px;margin-top:16px}
    .tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:16px;margin-top:24px}
    .tile{padding:14px 18px;display:flex;flex-direction:column}
    .tile strong{font-size:24px;line-height:1.3;font-weight:650}
    .kind,.detail{font-size:14px;color:var(--soft)}
    .notes{margin:16px 0 0;padding:12px 16px 12px 34px;border-left:3px solid var(--mark);background:var(--card);\
    border-radius:0 10px 10px 0}
    svg{display:block;width:100%;min-width:560px;height:auto}
    svg text{font-size:13px;fill:var(--ink)}svg .tick{font-size:12px;fill:var(--soft)}
    svg .value,td{font-variant-numeric:tabular-nums}
    .grid{stroke:var(--line)}.axis{stroke:var(--axis)}.reference{stroke:var(--base);stroke-dasharray:4 4}
    .dot{fill:var(--mark);stroke:var(--card);stroke-width:2}.dot.base{fill:var(--base)}
    .bar{fill:var(--mark)}.bar.base{fill:var(--base)}
    .error{stroke:var(--mark);stroke-width:2;opacity:.55}.error.base{stroke:var(--base)}
    .scroll{overflow-x:auto;margin:8px 0 12px}
    table{border-collapse:collapse;width:100%;font-size:14px;white-space:nowrap}
    th,td{text-align:right;vertical-align:top;padding:7px 0 7px 16px;border-bottom:1px solid var(--line)}
    td small{display:block;font-size:12px;color:var(--soft)}
    th{color:var(--soft);font-weight:500;font-size:13px}.name{text-align:left;padding-left:0}
    tr.base td{color:var(--soft)}tbody tr:last-child td{border-bottom:0}
    .facts{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:8px 0 0;font-size:14px}
    dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
    pre,.digests dd{font:13px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,monospace}
    pre{margin:14px 0 0;padding:12px 14px;background:var(--page);border-radius:6px;white-space:pre-wrap;\
    overflow-wrap:anywhere}
    @media print{body{background:#fff}section,.tile{break-inside:avoid}}
    """
}
