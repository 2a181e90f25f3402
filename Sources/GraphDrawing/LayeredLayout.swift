/// Places boxes of given sizes in rows, so that edges point downwards and cross seldom.
///
/// Rows by the longest path; edges over several rows get a place of their own in each row between, one for all edges of a source;
/// order by barycenters, kept only where it saves crossings; columns by the least squares of edge slants under the distances
/// that boxes need (isotonic regression), swept down and up.
/// Source: Sugiyama, Tagawa and Toda 1981.
struct LayeredLayout {
  /// A box or a bend, by its center.
  struct Place {
    let row: Int
    let width: Double
    let height: Double
    let isBend: Bool
    /// Boxes of one group stand side by side.
    let group: Int
    var x = 0.0
    var y = 0.0
  }

  /// Boxes in the order in which they were given, then bends.
  private(set) var places: [Place] = []
  /// For each edge the places that it goes through, its ends included.
  private(set) var routes: [[Int]] = []
  /// Top and bottom of each row.
  private(set) var rows: [(top: Double, bottom: Double)] = []
  /// Places of each row from left to right.
  private var order: [[Int]] = []
  private var above: [[Int]] = []
  private var below: [[Int]] = []

  private static let columnGap = 30.0
  private static let rowGap = 38.0
  private static let bendWidth = 10.0

  /// - Parameters:
  ///   - sizes: width and height of each box.
  ///   - groups: a number for each box; boxes of one group are kept together.
  ///   - edges: pairs of boxes; an edge goes from a lower to a higher number.
  ///   - ranking: more pairs, which order rows and are not drawn here.
  init(
    sizes: [(width: Double, height: Double)], groups: [Int], edges: [(source: Int, target: Int)],
    ranking: [(source: Int, target: Int)]
  ) {
    let ranks = Self.ranks(count: sizes.count, edges + ranking)
    for (number, size) in sizes.enumerated() {
      places.append(
        Place(
          row: ranks[number], width: size.width, height: size.height, isBend: false, group: groups[number]))
    }
    route(edges)
    arrange()
    spreadRows()
    spreadColumns()
    separateGroups()
  }

  /// The row of each box: below all that it comes from, and not higher than its users need when it comes from nothing.
  private static func ranks(count: Int, _ edges: [(source: Int, target: Int)]) -> [Int] {
    var ranks = [Int](repeating: 0, count: count)
    for target in 0..<count {
      for edge in edges where edge.target == target {
        ranks[target] = max(ranks[target], ranks[edge.source] + 1)
      }
    }
    for source in 0..<count where !edges.contains(where: { $0.target == source }) {
      let first = edges.filter { $0.source == source }.map { ranks[$0.target] }.min()
      if let first { ranks[source] = max(first - 1, 0) }
    }
    return ranks
  }

  private mutating func route(_ edges: [(source: Int, target: Int)]) {
    var bends: [Int: [Int: Int]] = [:]
    var links: Set<[Int]> = []
    above = places.map { _ in [] }
    below = above
    for edge in edges {
      var route = [edge.source]
      for row in stride(from: places[edge.source].row + 1, to: places[edge.target].row, by: 1) {
        if bends[edge.source]?[row] == nil {
          bends[edge.source, default: [:]][row] = places.count
          places.append(
            Place(row: row, width: Self.bendWidth, height: 0, isBend: true, group: places[edge.target].group))
          above.append([])
          below.append([])
        }
        if let bend = bends[edge.source]?[row] { route.append(bend) }
      }
      route.append(edge.target)
      for (from, to) in zip(route, route.dropFirst()) where links.insert([from, to]).inserted {
        below[from].append(to)
        above[to].append(from)
      }
      routes.append(route)
    }
  }

  private mutating func arrange() {
    let count = (places.map(\.row).max() ?? -1) + 1
    order = (0..<count).map { row in places.indices.filter { places[$0].row == row } }
    // Bends stand where their source's edges leave it: before boxes with higher numbers.
    var best = crossings()
    for sweep in 0..<12 where best > 0 {
      let before = order
      let rows = sweep.isMultiple(of: 2) ? Array(order.indices) : order.indices.reversed()
      for row in rows { sort(row, by: sweep.isMultiple(of: 2) ? above : below) }
      let found = crossings()
      if found < best { best = found } else if found > best { order = before }
    }
  }

  private mutating func sort(_ row: Int, by neighbours: [[Int]]) {
    var rank: [Int: Double] = [:]
    for line in order { for (position, place) in line.enumerated() { rank[place] = Double(position) } }
    func center(_ members: [Int]) -> Double? {
      members.isEmpty ? nil : members.reduce(0) { $0 + (rank[$1] ?? 0) } / Double(members.count)
    }
    var groups: [Int: [Double]] = [:]
    for (position, place) in order[row].enumerated() {
      groups[places[place].group, default: []].append(center(neighbours[place]) ?? Double(position))
    }
    let means = groups.mapValues { $0.reduce(0, +) / Double($0.count) }
    let keys = order[row].enumerated().map { position, place in
      (
        means[places[place].group] ?? 0, places[place].group, center(neighbours[place]) ?? Double(position),
        position
      )
    }
    order[row] = keys.sorted { $0 < $1 }.map { order[row][$0.3] }
  }

  private func crossings() -> Int {
    var total = 0
    for row in order.dropLast().indices {
      let positions = Dictionary(uniqueKeysWithValues: order[row + 1].enumerated().map { ($1, $0) })
      let ends = order[row].map { place in below[place].compactMap { positions[$0] }.sorted() }
      for (index, left) in ends.enumerated() {
        for right in ends[(index + 1)...] {
          for a in left { total += right.count { $0 < a } }
        }
      }
    }
    return total
  }

  private mutating func spreadRows() {
    var top = 0.0
    for row in order.indices {
      let height = order[row].map { places[$0].height }.max() ?? 0
      rows.append((top, top + height))
      for place in order[row] { places[place].y = top + height / 2 }
      top += height + Self.rowGap
    }
  }

  private mutating func spreadColumns() {
    for row in order.indices {
      var x = 0.0
      for place in order[row] {
        x += places[place].width / 2
        places[place].x = x
        x += places[place].width / 2 + Self.columnGap
      }
      let shift = (x - Self.columnGap) / 2
      for place in order[row] { places[place].x -= shift }
    }
    for sweep in 0..<24 {
      let isDown = sweep.isMultiple(of: 2)
      for row in isDown ? Array(order.indices) : order.indices.reversed() {
        settle(
          row,
          order[row].map { place in
            // What stands alone in its row stands on the spine.
            guard order[row].count > 1 else { return 0 }
            let near = isDown ? above[place] : below[place]
            let all = near.isEmpty ? above[place] + below[place] : near
            guard !all.isEmpty else { return places[place].x }
            return all.reduce(0) { $0 + places[$1].x } / Double(all.count)
          })
      }
    }
  }

  /// Moves the places of a row as near to where they want to be as the others let them.
  private mutating func settle(_ row: Int, _ wishes: [Double]) {
    var offsets: [Double] = []
    var offset = 0.0
    for (index, place) in order[row].enumerated() {
      if index > 0 {
        offset += (places[order[row][index - 1]].width + places[place].width) / 2 + Self.columnGap
      }
      offsets.append(offset)
    }
    var pools: [(sum: Double, weight: Double, count: Int)] = []
    for (index, place) in order[row].enumerated() {
      let weight = places[place].isBend ? 4.0 : 1.0
      pools.append((weight * (wishes[index] - offsets[index]), weight, 1))
      while pools.count > 1 {
        let (last, before) = (pools[pools.count - 1], pools[pools.count - 2])
        guard before.sum / before.weight > last.sum / last.weight else { break }
        pools.removeLast(2)
        pools.append((before.sum + last.sum, before.weight + last.weight, before.count + last.count))
      }
    }
    var index = 0
    for pool in pools {
      for _ in 0..<pool.count {
        places[order[row][index]].x = pool.sum / pool.weight + offsets[index]
        index += 1
      }
    }
  }

  /// Moves the boxes of a group, which had to make room for others, back above each other; none further left than `left`.
  private mutating func straighten(_ group: Int, from left: Double) {
    for sweep in 0..<6 {
      for row in sweep.isMultiple(of: 2) ? order.indices.reversed() : Array(order.indices) {
        settle(
          row,
          order[row].map { place in
            guard places[place].group == group else { return places[place].x }
            let near = (above[place] + below[place]).filter { places[$0].group == group }
            guard !near.isEmpty else { return places[place].x }
            let mean = near.reduce(0) { $0 + places[$1].x } / Double(near.count)
            return max(mean, left + places[place].width / 2)
          })
      }
    }
  }

  /// Shifts groups that stand beside each other apart, so that a frame fits around each; group 0 has no frame.
  private mutating func separateGroups() {
    let boxes = places.indices.filter { !places[$0].isBend && places[$0].group > 0 }
    let groups = Set(boxes.map { places[$0].group })
    func extent(_ group: Int) -> (rows: ClosedRange<Int>, left: Double, right: Double) {
      let members = boxes.filter { places[$0].group == group }
      let rows = members.map { places[$0].row }
      return (
        (rows.min() ?? 0)...(rows.max() ?? 0), members.map { places[$0].x - places[$0].width / 2 }.min() ?? 0,
        members.map { places[$0].x + places[$0].width / 2 }.max() ?? 0
      )
    }
    var placed: [Int] = []
    for group in groups.sorted(by: { (extent($0).left, $0) < (extent($1).left, $1) }) {
      let own = extent(group)
      let needed = placed.map(extent).filter { $0.rows.overlaps(own.rows) }.map { $0.right + 60 - own.left }
      if let shift = needed.max(), shift > 0 {
        for place in places.indices where places[place].group == group { places[place].x += shift }
        straighten(group, from: own.left + shift)
      }
      placed.append(group)
    }
    for row in order.indices { settle(row, order[row].map { places[$0].x }) }
  }
}
