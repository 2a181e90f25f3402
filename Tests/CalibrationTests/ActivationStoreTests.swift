import Calibration
import TensorCore
import TestSupport
import Testing

struct ActivationStoreTests {
  /// Around the size from which on values have pages of their own, too.
  @Test(arguments: [0, 1, 1000, 65_535, 65_536, 65_537, 1_048_577]) func valuesComeBack(count: Int) {
    var generator = SeededGenerator(seed: UInt64(count))
    var values = generator.normals(count)
    let specials: [Float] = [-0.0, .infinity, .leastNonzeroMagnitude, .greatestFiniteMagnitude]
    for (index, special) in specials.enumerated() where index < count {
      values[count - 1 - index] = special
    }
    let stored = unsafe values.withUnsafeBufferPointer { values in
      [true, false].map { unsafe StoredActivation(values, compact: $0).floats.map(\.bitPattern) }
    }
    #expect(stored[0] == values.map { SmallFloat.float(bfloat16: SmallFloat.bfloat16($0)).bitPattern })
    #expect(stored[1] == values.map(\.bitPattern))
  }
}
