import TensorCore
import TestSupport
import Testing

/// Rounding to small floats against a search through all values.
@Suite struct SmallFloatTests {
  struct Format: Sendable, CustomTestStringConvertible {
    let name: String
    let values: [Float]
    let round: @Sendable (Float) -> UInt8
    var testDescription: String { name }

    /// The code of the nearest value, of two equally near ones the even code; zeros keep the sign.
    func nearest(_ value: Float) -> UInt8 {
      let largest = values.filter { $0.isFinite }.max() ?? 0
      let value = max(-2 * largest, min(2 * largest, value))
      var best = 0
      var bestDistance = Double.infinity
      for code in values.indices where values[code].isFinite && (values[code].sign == value.sign) {
        let distance = abs(Double(values[code]) - Double(value))
        if distance < bestDistance || distance == bestDistance && code % 2 == 0 {
          (best, bestDistance) = (code, distance)
        }
      }
      return UInt8(best)
    }
  }

  static let formats = [
    Format(name: "e4m3", values: SmallFloat.e4m3Values, round: SmallFloat.e4m3),
    Format(name: "e5m2", values: SmallFloat.e5m2Values, round: SmallFloat.e5m2),
    Format(name: "e2m1", values: SmallFloat.e2m1Values, round: SmallFloat.e2m1),
  ]

  @Test(arguments: formats)
  func everyCodeReadsBack(format: Format) {
    for (code, value) in format.values.enumerated() where value.isFinite {
      #expect(format.round(value) == UInt8(code))
    }
  }

  @Test(arguments: formats)
  func everyTieGoesToTheEvenCodeAndItsNeighboursToTheNearest(format: Format) {
    let values = format.values.filter(\.isFinite).sorted()
    for (low, high) in zip(values, values.dropFirst()) where low != high {
      let tie = (low + high) / 2
      for value in [tie, tie.nextUp, tie.nextDown, low.nextUp, high.nextDown] {
        #expect(format.round(value) == format.nearest(value), "\(format.name) \(value)")
      }
    }
  }

  @Test(arguments: formats)
  func randomNumbersGoToTheNearest(format: Format) {
    var generator = SeededGenerator(seed: 31)
    for _ in 0..<3000 {
      let value = Float(bitPattern: UInt32.random(in: 0...UInt32.max, using: &generator))
      if value.isNaN || value.isInfinite { continue }
      #expect(format.round(value) == format.nearest(value), "\(format.name) \(value), seed 31")
    }
  }

  @Test(arguments: formats)
  func whatLiesBeyondSaturates(format: Format) throws {
    let largest = try #require(format.values.filter(\.isFinite).max())
    for value in [largest, largest * 1.01, largest * 1000, Float.greatestFiniteMagnitude, .infinity] {
      #expect(format.values[Int(format.round(value))] == largest)
      #expect(format.values[Int(format.round(-value))] == -largest)
    }
    if format.name != "e2m1" { #expect(format.values[Int(format.round(.nan))].isNaN) }
  }

  @Test func powersOfTwoAreTheFloor() {
    for code in 1...254 {
      let value = SmallFloat.e8m0Values[code]
      #expect(SmallFloat.e8m0(floorOf: value) == UInt8(code))
      #expect(SmallFloat.e8m0(floorOf: value.nextDown) == UInt8(code - 1))
      #expect(SmallFloat.e8m0(floorOf: value * 1.999) == UInt8(code))
    }
    #expect(SmallFloat.e8m0(floorOf: 0) == 0)
    #expect(SmallFloat.e8m0(floorOf: .infinity) == 254)
    #expect(SmallFloat.e8m0(floorOf: .nan) == 0xFF)
    #expect(SmallFloat.e8m0(floorOf: .leastNonzeroMagnitude) == 0)
  }

  @Test func roundsToHalvesAsTheTypeDoes() {
    var wrong: [UInt32] = []
    func check(_ bits: UInt32) {
      let value = Float(bitPattern: bits)
      let (found, expected) = (SmallFloat.halfRounded(value), Float(Float16(value)))
      if found.bitPattern != expected.bitPattern, !(found.isNaN && expected.isNaN) { wrong.append(bits) }
    }
    // Around every half: itself, the middles beside it, and one bit off those.
    for half in UInt16.min...UInt16.max {
      let bits = Float(Float16(bitPattern: half)).bitPattern
      for offset in [0, 1, 0xFFF, 0x1000, 0x1001] as [UInt32] {
        check(bits &+ offset)
        check(bits &- offset)
      }
    }
    var generator = SeededGenerator(seed: 3)
    for _ in 0..<100_000 { check(UInt32(truncatingIfNeeded: generator.next())) }
    #expect(wrong.isEmpty, "\(wrong.prefix(5).map { String($0, radix: 16) })")
  }
}
