import TensorCore

/// Planes of 4-bit codes, two a byte, the even column low.
enum FourBitPlanes {
  /// Writes `values[code] * scales[row, column / groupLength]`; `scales` are those of `rows`.
  static func decode(
    _ codes: Tensor, rows: Range<Int>, columns: Int, groupLength: Int, values: [Float], scales: [Float],
    into target: UnsafeMutableBufferPointer<Float>
  ) {
    let rowBytes = (columns + 1) / 2
    let groups = Checked.ceilingQuotient(columns, groupLength)
    unsafe codes.withBytes { bytes in
      unsafe values.withUnsafeBufferPointer { values in
        for (index, row) in rows.enumerated() {
          for group in 0..<groups {
            let scale = scales[index * groups + group]
            for column in group * groupLength..<min((group + 1) * groupLength, columns) {
              let byte = unsafe bytes[row * rowBytes + column >> 1]
              let code = column & 1 == 0 ? byte & 15 : byte >> 4
              unsafe target[index * columns + column] = unsafe values[Int(code)] * scale
            }
          }
        }
      }
    }
  }
}

/// Rows cut into groups that are padded to whole vectors, for searches over ``LevelTable``.
struct GroupBuffer {
  let length: Int
  private(set) var values: [Float]
  private(set) var weights: [Float]
  private(set) var places: [UInt8]

  init(length: Int) {
    self.length = length
    values = [Float](repeating: 0, count: (length + 15) / 16 * 16)
    weights = values
    places = [UInt8](repeating: 0, count: values.count)
  }

  /// Takes `range` of the columns of a row; what pads the vectors weighs nothing.
  mutating func load(_ matrix: FloatMatrix, row: Int, _ range: Range<Int>, _ importance: [Float]?) {
    for index in values.indices {
      let column = range.lowerBound + index
      let isInside = column < range.upperBound
      values[index] = isInside ? matrix.values[row * matrix.columns + column] : 0
      weights[index] = isInside ? importance?[column] ?? 1 : 0
    }
  }

  /// Finds the places in a table of the values under a scale.
  mutating func locate(in table: LevelTable, scale: Float) {
    let values = values
    var span = places.mutableSpan
    table.places(values.span, scale: scale, into: &span)
  }

  /// Largest magnitude.
  var extreme: Float { values.reduce(0) { max($0, abs($1)) } }
}
