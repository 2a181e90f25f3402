import TensorCore

/// A way to store the values of one uniform codec in another.
public struct CodecBridge: Sendable {
  /// How near the values stay.
  public enum Fit: Sendable, Equatable {
    /// Every value is the same number.
    case exact
    /// Scales or minimums are rounded to their storage type: no value moves by more than this.
    case rounded(by: Float)
    /// There is no way, for this reason.
    case impossible(String)
  }

  /// The codec that the values come from.
  public let source: any UniformGroupCodec
  /// The codec that they go to.
  public let target: any UniformGroupCodec

  /// A bridge between two codecs; nil when one of them is not uniform.
  public init?(from source: any Codec, to target: any Codec) {
    guard let source = source as? any UniformGroupCodec, let target = target as? any UniformGroupCodec
    else { return nil }
    self.source = source
    self.target = target
  }

  /// How a matrix would fit, from its parameters alone.
  public func fit(_ matrix: EncodedMatrix) -> Fit {
    switch transfer(matrix) {
    case .success(let transfer): transfer.bound == 0 ? .exact : .rounded(by: transfer.bound)
    case .failure(let refusal): .impossible(refusal.reason)
    }
  }

  /// The matrix in the target codec.
  /// - Throws: ``CodecError/invalidParameters(codec:reason:)`` when ``fit(_:)`` is impossible.
  public func convert(_ matrix: EncodedMatrix) throws(CodecError) -> EncodedMatrix {
    let transfer: Transfer
    switch self.transfer(matrix) {
    case .success(let found): transfer = found
    case .failure(let refusal):
      throw .invalidParameters(codec: target.canonicalName, reason: refusal.reason)
    }
    var codes = source.uniformCodes(of: matrix, rows: 0..<matrix.rows)
    transfer.shift(&codes, rows: matrix.rows, columns: matrix.columns)
    return try target.assemble(
      rows: matrix.rows, columns: matrix.columns, uniformCodes: codes, parameters: transfer.parameters)
  }
}

extension CodecBridge {
  private struct Refusal: Error { let reason: String }

  /// Parameters in the target's terms, and what is added to the codes of each of the source's groups.
  private struct Transfer {
    var parameters: UniformParameters
    /// One for each group of the source, or one for all, or none.
    var shifts: [Int] = []
    let sourceGroupLength: Int
    var bound: Float = 0

    func shift(_ codes: inout [UInt8], rows: Int, columns: Int) {
      guard shifts.contains(where: { $0 != 0 }) else { return }
      let groups = Checked.ceilingQuotient(columns, sourceGroupLength)
      var target = codes.mutableSpan
      for row in 0..<rows {
        for column in 0..<columns {
          let shift = shifts.count == 1 ? shifts[0] : shifts[row * groups + column / sourceGroupLength]
          let index = row * columns + column
          target[index] = UInt8(truncatingIfNeeded: Int(target[index]) + shift)
        }
      }
    }
  }

  private func transfer(_ matrix: EncodedMatrix) -> Result<Transfer, Refusal> {
    do throws(Refusal) {
      guard let from = source.uniformGrid(columns: matrix.columns) else {
        throw Refusal(reason: Self.unevenness(source))
      }
      guard let to = target.uniformGrid(columns: matrix.columns) else {
        throw Refusal(reason: "\(target.canonicalName) does not fit \(matrix.columns) columns")
      }
      let parameters = source.uniformParameters(of: matrix)
      var result = Transfer(
        parameters: UniformParameters(scales: []), sourceGroupLength: from.groupLength)
      let moved = try Self.origins(parameters, from, to)
      result.shifts = moved.shifts
      let scales = try Self.stored(parameters.scales, as: to.scaleType, what: "scale")
      let minimums = try Self.stored(moved.minimums, as: to.scaleType, what: "minimum")
      for (group, scale) in scales.enumerated() {
        // Codes are counted from the origin: with a zero point no code is farther from it than the largest.
        var difference = abs(scale - parameters.scales[group]) * Float(from.maximumCode)
        if !minimums.isEmpty {
          difference += abs(minimums[group] - moved.minimums[group])
          // A zero point counts exactly; as a sum, scales of more than 16 bits round in the last place.
          let isShort = scale.bitPattern & 0xFF == 0
          if from.origin != .minimum, !isShort { difference += abs(minimums[group]) * 0x1p-22 }
        }
        result.bound = max(result.bound, difference)
      }
      let spread = try Self.spreading(matrix, from: from.groupLength, to: to.groupLength)
      result.parameters = UniformParameters(
        scales: spread(scales), zeros: spread(moved.zeros), minimums: spread(minimums))
      return .success(result)
    } catch { return .failure(error) }
  }

  private static func unevenness(_ codec: any Codec) -> String {
    (codec as? IntegerGroupCodec)?.hasGroupIndex == true
      ? "its columns are in act-order, which only layouts with a group index can hold"
      : "its values are not evenly spaced"
  }

  /// What becomes of zero points and minimums, group by group of the source.
  private struct Origins {
    var zeros: [UInt8] = []
    var minimums: [Float] = []
    var shifts: [Int] = []
  }

  private static func origins(
    _ parameters: UniformParameters, _ from: UniformGrid, _ to: UniformGrid
  ) throws(Refusal) -> Origins {
    var result = Origins()
    let count = parameters.scales.count
    if to.origin == .minimum {
      guard from.maximumCode <= to.maximumCode else { throw tooManyCodes(from, to) }
      result.minimums = (0..<count).map { group in
        switch from.origin {
        case .fixed(let zero): -Float(zero) * parameters.scales[group]
        case .zeroPoint: -Float(parameters.zeros[group]) * parameters.scales[group]
        case .minimum: parameters.minimums[group]
        }
      }
      return result
    }
    let zeros = try integerZeros(parameters, from)
    switch to.origin {
    case .fixed(let middle):
      var shifts: Set<Int> = []
      for zero in zeros {
        let shift = middle - zero
        guard shift >= 0, from.maximumCode + shift <= to.maximumCode else {
          throw Refusal(
            reason:
              "zero point \(zero) of \(from.maximumCode + 1) codes does not fit \(to.maximumCode + 1) codes around \(middle)"
          )
        }
        shifts.insert(shift)
      }
      result.shifts = shifts.count == 1 ? Array(shifts) : zeros.map { middle - $0 }
    case .zeroPoint:
      guard from.maximumCode <= to.maximumCode else { throw tooManyCodes(from, to) }
      guard zeros.allSatisfy({ (0...to.maximumCode).contains($0) }) else {
        throw Refusal(reason: "a zero point lies outside of the codes")
      }
      // One for all, when it was fixed.
      result.zeros =
        zeros.count == count
        ? zeros.map { UInt8($0) } : zeros.flatMap { [UInt8](repeating: UInt8($0), count: count) }
    case .minimum: break
    }
    return result
  }

  /// Zero points as integers: one for all groups when it is fixed.
  private static func integerZeros(
    _ parameters: UniformParameters, _ grid: UniformGrid
  ) throws(Refusal) -> [Int] {
    switch grid.origin {
    case .fixed(let zero): return [zero]
    case .zeroPoint: return parameters.zeros.map { Int($0) }
    case .minimum:
      var zeros: [Int] = []
      zeros.reserveCapacity(parameters.scales.count)
      for (scale, minimum) in zip(parameters.scales, parameters.minimums) {
        let zero = scale == 0 ? 0 : -minimum / scale
        guard zero == zero.rounded(), (0...255).contains(zero), -zero * scale == minimum else {
          throw Refusal(reason: "minimums are not whole steps, as zero points would be")
        }
        zeros.append(Int(zero))
      }
      return zeros
    }
  }

  private static func tooManyCodes(_ from: UniformGrid, _ to: UniformGrid) -> Refusal {
    Refusal(reason: "\(from.maximumCode + 1) codes do not fit \(to.maximumCode + 1)")
  }

  /// Numbers as they will be read back.
  private static func stored(
    _ values: [Float], as type: ElementType, what: String
  ) throws(Refusal) -> [Float] {
    let stored = values.map { value in
      switch type {
      case .f16: Float(Float16(value))
      case .bf16: SmallFloat.float(bfloat16: SmallFloat.bfloat16(value))
      default: value
      }
    }
    for (value, kept) in zip(values, stored) where value.isFinite && value != 0 {
      guard kept.isFinite, kept != 0 else {
        throw Refusal(reason: "\(what) \(value) is out of range of \(type.name)")
      }
    }
    return stored
  }

  /// Repeats the parameters of the source's groups for the target's, which must be parts of them.
  private static func spreading(
    _ matrix: EncodedMatrix, from: Int, to: Int
  ) throws(Refusal) -> Spread {
    guard from == to || from % to == 0 || from >= matrix.columns else {
      throw Refusal(reason: "groups of \(from) columns are not whole groups of \(to)")
    }
    return Spread(rows: matrix.rows, columns: matrix.columns, from: from, to: to)
  }

  private struct Spread {
    let rows: Int
    let columns: Int
    let from: Int
    let to: Int

    func callAsFunction<Value>(_ values: [Value]) -> [Value] {
      let before = Checked.ceilingQuotient(columns, from)
      let after = Checked.ceilingQuotient(columns, to)
      guard before != after, !values.isEmpty else { return values }
      var result: [Value] = []
      result.reserveCapacity(rows * after)
      for row in 0..<rows {
        for group in 0..<after { result.append(values[row * before + group * to / from]) }
      }
      return result
    }
  }
}
