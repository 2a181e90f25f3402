import Calibration
import Codecs
import Kernels
import TestSupport
import Testing

@Suite struct ActivationRangeTests {
  private static let pool = ThreadPool(threadCount: 2, isPinned: false)

  private static func range(
    _ values: [Float], columns: Int, _ scheme: ActivationScheme = .int8Token, windows: Int = 1
  ) -> ActivationRange {
    var observer = ActivationObserver(columns: columns, scheme: scheme)
    let step = values.count / columns / windows * columns
    for start in stride(from: 0, to: values.count, by: step) {
      observer.observe(Array(values[start..<start + step]), kernels: .best, pool: pool)
    }
    return observer.finish()
  }

  private static func values(_ count: Int, seed: UInt64) -> [Float] {
    var generator = SeededGenerator(seed: seed)
    var values = generator.normals(count)
    for index in values.indices where index % 97 == 5 { values[index] *= 9 }
    return values
  }

  @Test func percentilesAreThoseOfTheSortedNumbers() {
    let values = Self.values(64 * 200, seed: 5)
    let range = Self.range(values, columns: 64)
    let sorted = values.map(\.magnitude).sorted()
    for share in [0.5, 0.9, 0.99, 0.999, 1] {
      let exact = sorted[Int((Double(sorted.count) * share).rounded(.up)) - 1]
      let found = range.percentile(share)
      #expect(found >= exact && found <= exact * (1 + 1.0 / 64), "\(share): \(found), \(exact)")
    }
    #expect(range.absoluteMaximum == sorted.last && range.tokenCount == 200)
    let threshold = sorted[sorted.count - 20]
    let columns = (0..<64).filter { column in
      stride(from: column, to: values.count, by: 64).contains { values[$0].magnitude >= threshold }
    }
    #expect(range.outlierColumns(threshold: threshold) == columns)
    #expect(!columns.isEmpty && columns.count <= 20)
  }

  @Test func windowsAddUp() {
    let values = Self.values(64 * 200, seed: 6)
    let (one, many) = (Self.range(values, columns: 64), Self.range(values, columns: 64, windows: 8))
    #expect(one.percentile(0.99) == many.percentile(0.99) && one.maxima == many.maxima)
    #expect(abs(one.relativeError - many.relativeError) <= one.relativeError * 1e-6)
  }

  /// The estimate of a static scale's error against rounding all numbers with it.
  @Test(arguments: [ActivationScheme.int8Tensor, .fp8Tensor], ScaleObserver.all)
  func estimatesAreTheErrorsOfRounding(scheme: ActivationScheme, observer: ScaleObserver) throws {
    let values = Self.values(64 * 400, seed: 7)
    let range = Self.range(values, columns: 64, scheme)
    let scale = try #require(observer.scale(of: range, for: scheme))
    let (error, energy) = Self.roundingError(values, InputQuantization(scheme, scale: scale))
    let estimate = range.relativeError(scheme.kind, scale: scale)
    #expect(abs(estimate - error / energy) <= error / energy * 0.1, "\(estimate), \(error / energy)")
    #expect(range.relativeError == 0, "nothing is known of dynamic rounding")
  }

  private static func roundingError(_ values: [Float], _ input: InputQuantization) -> (Double, Double) {
    var source = values
    var target = values
    let count = values.count
    unsafe source.withUnsafeMutableBufferPointer { from in
      unsafe target.withUnsafeMutableBufferPointer { to in
        guard let from = from.baseAddress, let to = to.baseAddress else { return }
        unsafe KernelTable.best.roundActivations(
          Rows(from, rows: count / 64, columns: 64), to: input, into: Rows(to, rows: count / 64, columns: 64),
          workspace: Workspace(), pool: pool)
      }
    }
    let error = zip(values, target).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
    return (error, values.reduce(0.0) { $0 + Double($1 * $1) })
  }

  @Test func theBestRangeIsNoWorseThanTheWhole() throws {
    var values = Self.values(64 * 400, seed: 8)
    values[70] = 900
    let range = Self.range(values, columns: 64, .int8Tensor)
    func error(_ observer: ScaleObserver) throws -> Double {
      range.relativeError(.int8, scale: try #require(observer.scale(of: range, for: .int8Tensor)))
    }
    #expect(try error(.mse) <= error(.minmax))
    #expect(try error(.mse) <= error(.percentile(0.999)))
    #expect(ScaleObserver.minmax.scale(of: range, for: .int8Tensor) == Float(900) / Float(127))
    #expect(ScaleObserver.minmax.scale(of: Self.range([0, 0], columns: 2), for: .int8Tensor) == nil)
    let maxima = ActivationRange(maxima: [1, 254], tokenCount: 9)
    #expect(ScaleObserver.minmax.scale(of: maxima, for: .int8Tensor) == 2)
    #expect(ScaleObserver.mse.scale(of: maxima, for: .int8Tensor) == nil)
  }

  @Test func dynamicErrorsAreThoseOfTheKernels() {
    let values = Self.values(64 * 100, seed: 9)
    for scheme in [ActivationScheme.int8Token, .fp8Token, .int8Outliers] {
      let (error, energy) = Self.roundingError(values, InputQuantization(scheme))
      let found = Self.range(values, columns: 64, scheme).relativeError
      #expect(found > 0 && abs(found - error / energy) <= found * 1e-4, "\(scheme)")
    }
  }

  @Test func namesOfObservers() {
    for observer in ScaleObserver.all { #expect(ScaleObserver(name: observer.description) == observer) }
    for name in ["", "max", "percentile-", "percentile-101", "percentile-nan", "percentile-10"] {
      #expect(ScaleObserver(name: name) == nil, "\(name)")
    }
  }
}

extension ScaleObserver {
  fileprivate static let all: [ScaleObserver] = [.minmax, .mse, .percentile(0.9999), .percentile(0.99)]
}
