/// A codebook of short vectors, which the IQ types quantize groups of 4 or 8 values to.
struct CodebookGrid: Sendable {
  /// Vectors.
  let entries: Int
  /// Values of a vector.
  let dimensions: Int
  /// `entries * dimensions` values, entry after entry.
  let values: [Float]
  /// The same, coordinate after coordinate, as the search wants them.
  let coordinates: [Float]

  static let iq1s = CodebookGrid(pairs: digitsOfIQ1S, [-1, 0, 1])
  static let iq2xxs = CodebookGrid(pairs: digitsOfIQ2XXS, [8, 25, 43])
  static let iq2xs = CodebookGrid(pairs: digitsOfIQ2XS, [8, 25, 43])
  static let iq2s = CodebookGrid(pairs: digitsOfIQ2S, [8, 25, 43])
  static let iq3xxs = CodebookGrid(singles: digitsOfIQ3XXS, [4, 12, 20, 28, 36, 44, 52, 62])
  static let iq3s = CodebookGrid(singles: digitsOfIQ3S, [1, 3, 5, 7, 9, 11, 13, 15])

  private init(pairs text: String, _ alphabet: [Float]) {
    let digits = CodebookGrid.digits(text)
    self.init(dimensions: 8, values: digits.flatMap { [alphabet[$0 & 3], alphabet[$0 >> 2]] })
  }

  private init(singles text: String, _ alphabet: [Float]) {
    self.init(dimensions: 4, values: CodebookGrid.digits(text).map { alphabet[$0] })
  }

  private init(dimensions: Int, values: [Float]) {
    let entries = values.count / dimensions
    self.entries = entries
    self.dimensions = dimensions
    self.values = values
    coordinates = (0..<dimensions).flatMap { dimension in
      (0..<entries).map { values[$0 * dimensions + dimension] }
    }
  }

  private static func digits(_ text: String) -> [Int] {
    text.utf8.compactMap { $0 == UInt8(ascii: "\n") ? nil : Int($0 > 57 ? $0 - 87 : $0 - 48) }
  }
}

/// Signs of 8 values in 7 bits: the eighth makes the number of minus signs even.
enum EvenSigns {
  /// The eight signs, one a bit, of a stored index.
  static func bits(_ index: UInt8) -> UInt8 {
    index | UInt8(truncatingIfNeeded: index.nonzeroBitCount & 1) << 7
  }
}
