import GraphIR
import TensorCore
import TestSupport

/// Small graphs that several tests share.
enum SampleGraphs {
  /// Two decoder blocks with every operation that an importer makes.
  static let decoder = """
    graph @sample (tokens: i32[T], positions: i32[T]) {
      constants {
        @embed: bf16[20, 8]
        @frequencies: f32[2]
        @l0.norm: f32[8]
        @l0.q: f32[8, 8]
        @l0.k: f32[4, 8]
        @l0.v: f32[4, 8]
        @l0.o: f32[8, 8]
        @"l1 gate \\"x\\"": f32[12, 8]
        @l1.up: f32[12, 8]
        @l1.up_bias: f32[12]
        @l1.down: int4-g128-sym[8, 12]
        @norm: f32[8]
        @head: bf16[20, 8]
      }
      %h0 = embedding %tokens, @embed                                        : f32[T, 8]
      layers.0 {
        attention {
          %n0 = rms_norm %h0, @l0.norm {eps = 1e-05}                         : f32[T, 8]
          %q0 = linear %n0, @l0.q                                            : f32[T, 8]
          %kv0 = linear %n0, [@l0.k, @l0.v]                                  : f32[T, 8]
          %k0 = slice %kv0 {start = 0, length = 4}                           : f32[T, 4]
          %v0 = slice %kv0 {start = 4, length = 4}                           : f32[T, 4]
          %qr0 = rope %q0, %positions, @frequencies {heads = 2, head_dim = 4} : f32[T, 8]
          %kr0 = rope %k0, %positions, @frequencies {heads = 1, head_dim = 4, interleaved = true} : f32[T, 4]
          %a0 = attention %qr0, %kr0, %v0 {heads = 2, kv_heads = 1, head_dim = 4, scale = 0.5, cache = 0} : f32[T, 8]
          %o0 = linear %a0, @l0.o                                            : f32[T, 8]
        }
        %r0 = add %h0, %o0                                                   : f32[T, 8]
      }
      layers.1 {
        %g1 = linear %r0, @"l1 gate \\"x\\""                                   : f32[T, 12]
        %u1 = linear %r0, @l1.up, @l1.up_bias                                : f32[T, 12]
        %s1 = silu %g1                                                       : f32[T, 12]
        %m1 = multiply %s1, %u1                                              : f32[T, 12]
        %d1 = linear %m1, @l1.down                                           : f32[T, 8]
        %r1, %n1 = add_rms_norm %r0, %d1, @norm {eps = 1e-06}                : f32[T, 8], f32[T, 8]
      }
      %logits = linear %n1, @head                                            : f32[T, 20]
      return %logits

    """ + "}\n"

  /// Random float32 constants of the declared shapes, the same for the same seed and name.
  static func constants(of graph: Graph, seed: UInt64) -> (String) throws -> Tensor {
    var tensors: [String: Tensor] = [:]
    for (position, entry) in graph.constants.enumerated() {
      var generator = SeededGenerator(seed: seed &+ UInt64(position) &* 7919)
      if let shape = try? Shape(entry.value.dimensions) {
        tensors[entry.key] = try? Tensor(generator.normals(shape.elementCount), shape: shape)
      }
    }
    let made = tensors
    return { name in
      guard let tensor = made[name] else { throw GraphError.execution(name, reason: "no such constant") }
      return tensor
    }
  }

  /// Tokens and positions of a run.
  static func inputs(count: Int, vocabulary: Int32, seed: UInt64) throws -> [String: Tensor] {
    var generator = SeededGenerator(seed: seed)
    let tokens = (0..<count).map { _ in Int32.random(in: 0..<vocabulary, using: &generator) }
    let positions = (0..<count).map(Int32.init)
    return [
      "tokens": try Tensor(tokens, shape: Shape([count])),
      "positions": try Tensor(positions, shape: Shape([count])),
    ]
  }
}
