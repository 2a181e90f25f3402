import Execution
import Kernels
import OrderedCollections
import PackedModel
import Pipeline
import TestSupport
import Testing

/// Models of bf16 weights run by compact panels, from checkpoints and from packed files, with the bits of plain ones.
struct CompactWeightsTests {
  let directory = TemporaryDirectory()

  private func encodings(_ program: Program) -> Set<PanelEncoding> {
    Set(program.weights.matrices.values.map(\.encoding))
  }

  @Test func logitsAreThoseOfPlainPanels() throws {
    let model = try TestModels.acorn()
    var plain = ExecutionOptions.reference
    plain.layout.remove(.compactWeights)
    #expect(try encodings(LanguageModel(model, options: plain).program) == [.bf16])
    #expect(try encodings(LanguageModel(model, options: .reference).program) == [.compactBF16])
    let expected = try TestModels.logits(model, options: plain)
    #expect(try TestModels.logits(model) == expected)
    #expect(try TestModels.logits(model, [5]) == TestModels.logits(model, [5], options: plain))

    let path = directory.file("acorn.adze")
    _ = try PackStage(model, options: PackOptions()).write(to: path)
    let file = try PackedFile(path: path, supportedFeatures: PackOptions.supportedFeatures)
    #expect(file.requiredFeatures == ["layout-panel16", "panels-compact-bf16"])
    let packed = try ModelFormats.load(path)
    #expect(try encodings(LanguageModel(packed).program) == [.compactBF16])
    #expect(try TestModels.logits(packed) == expected)
    #expect(throws: (any Error).self) {
      try PackedFile(path: path, supportedFeatures: ["layout-panel16", "panels-e4m3"])
    }
  }

  /// Compressed files hold plain panels, which become smaller; canonical ones are packed when they are loaded.
  @Test(arguments: [
    (PackOptions.Layout.panel16, true, PanelEncoding.bf16), (.canonical, false, .compactBF16),
  ])
  func otherFilesSayTheSame(layout: PackOptions.Layout, compresses: Bool, encoding: PanelEncoding) throws {
    let model = try TestModels.acorn()
    let path = directory.file("acorn.adze")
    _ = try PackStage(model, options: PackOptions(layout: layout, compresses: compresses))
      .write(to: path)
    let packed = try ModelFormats.load(path)
    #expect(try encodings(LanguageModel(packed).program) == [encoding])
    #expect(try TestModels.logits(packed) == TestModels.logits(model))
  }

  @Test func ablationLeavesItOut() throws {
    let ablation = try Ablation(try TestModels.acorn(), options: .reference)
    for variant in ablation.variants {
      let isPlain = ["without compact-weights", "without any"].contains(variant.name)
      #expect(encodings(variant.program) == [isPlain ? .bf16 : .compactBF16], "\(variant.name)")
    }
    #expect(ablation.variants.contains { $0.name == "without compact-weights" })
  }
}
