// swift-tools-version: 6.2
import PackageDescription

/// Swift 6 mode, every warning an error, every unsafe use spelt out.
let strict: [SwiftSetting] = [
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableExperimentalFeature("Lifetimes"),
]

/// The program carries the Swift runtime with it: it runs where no Swift is installed, and what it does not use of
/// Foundation (through swift-argument-parser and Yams) takes no memory, which opening a model would show. The modules
/// are compiled for shared libraries, as the tests want them, so the parts of Foundation are named here.
let carryRuntime: [LinkerSetting] = [
  .unsafeFlags(
    [
      "-static-stdlib", "-lCoreFoundation", "-l_FoundationICU", "-l_FoundationCShims",
      "-l_FoundationCollections", "-lstdc++",
    ], .when(platforms: [.linux]))
]

/// Files of a room that people read and the compiler does not.
let documents = ["SPEC.md", "Vectors"]

/// A room under `Sources/`, or at `path` when it lies elsewhere.
func room(
  _ name: String, _ dependencies: [Target.Dependency], path: String? = nil, exclude: [String] = []
) -> Target {
  .target(name: name, dependencies: dependencies, path: path, exclude: exclude, swiftSettings: strict)
}

/// The tests of one room.
func tests(
  _ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []
) -> Target {
  .testTarget(
    name: name, dependencies: dependencies + ["TestSupport"], exclude: exclude, swiftSettings: strict)
}

let collections = Target.Dependency.product(name: "OrderedCollections", package: "swift-collections")
let heap = Target.Dependency.product(name: "HeapModule", package: "swift-collections")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let argumentParser = Target.Dependency.product(
  name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
  name: "adze",
  products: [.executable(name: "adze", targets: ["adze"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    // Level -: C shims and kernels.
    .systemLibrary(
      name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(name: "CPCRE2", pkgConfig: "libpcre2-8", providers: [.apt(["libpcre2-dev"])]),
    .target(name: "CKernels"),

    // Level 0
    room("TensorCore", []),
    // Level 1
    room("SafeIO", ["TensorCore", "CZstd", collections, crypto]),
    // Level 2
    room("GraphIR", ["TensorCore", collections], exclude: ["TextForm.md"]),
    room("Codecs", ["TensorCore", "CKernels", collections]),
    room(
      "Safetensors", ["TensorCore", "SafeIO", collections], path: "Formats/Safetensors", exclude: documents),
    room("GGUF", ["TensorCore", "SafeIO", collections], path: "Formats/GGUF", exclude: documents),
    room("Llama2C", ["TensorCore", "SafeIO", collections], path: "Formats/Llama2C", exclude: documents),
    room(
      "Journal", ["TensorCore", "SafeIO", collections], path: "Formats/Journal", exclude: documents),
    room("LogitBase", ["TensorCore", "SafeIO"], path: "Formats/LogitBase", exclude: documents),
    room(
      "Tokenizers", ["TensorCore", "SafeIO", "CPCRE2", collections, heap], path: "Formats/Tokenizers",
      exclude: documents),
    room(
      "PackedModel", ["TensorCore", "SafeIO", collections], path: "Formats/PackedModel", exclude: documents),
    // Level 3
    room(
      "CompressedTensors", ["TensorCore", "SafeIO", "Codecs", collections], path: "Formats/CompressedTensors",
      exclude: documents),
    room(
      "GPTQFormat", ["TensorCore", "SafeIO", "Codecs", collections], path: "Formats/GPTQ", exclude: documents),
    room(
      "AWQFormat", ["TensorCore", "SafeIO", "Codecs", collections], path: "Formats/AWQ", exclude: documents),
    room(
      "Imatrix", ["TensorCore", "SafeIO", "GGUF", collections], path: "Formats/Imatrix", exclude: documents),
    room(
      "FP8Format", ["TensorCore", "SafeIO", "Codecs", collections], path: "Formats/FP8", exclude: documents),
    room(
      "ModelOptFormat", ["TensorCore", "SafeIO", "Codecs", collections], path: "Formats/ModelOpt",
      exclude: documents),
    room(
      "MLXFormat", ["TensorCore", "SafeIO", "Codecs", collections], path: "Formats/MLX", exclude: documents),
    room(
      "MXFP4Format", ["TensorCore", "SafeIO", "Codecs", collections], path: "Formats/MXFP4",
      exclude: documents),
    room(
      "Architectures", ["TensorCore", "SafeIO", "GraphIR", "Codecs", collections], exclude: ["FAMILIES.md"]),
    room("GraphDrawing", ["GraphIR", collections]),
    room("GraphPasses", ["TensorCore", "GraphIR", "Codecs", collections], exclude: ["README.md"]),
    room(
      "Kernels", ["TensorCore", "Codecs", "CKernels", "COpenBLAS", collections], exclude: ["CACHE.md"]),
    // Level 4
    room("Execution", ["TensorCore", "GraphIR", "Codecs", "Kernels", collections]),
    room("Differentiation", ["TensorCore", "GraphIR", "Kernels"]),
    // Level 5
    room(
      "Quantization", ["TensorCore", "GraphIR", "Codecs", "Kernels", "Differentiation"],
      exclude: [
        "LearnedRounding/README.md", "GPTQ/README.md", "AWQ/README.md", "RoundToNearest/README.md",
        "Rotation/README.md", "BitAllocation/README.md", "SmoothQuant/README.md",
      ]),
    room(
      "Calibration",
      ["TensorCore", "SafeIO", "GraphIR", "Codecs", "Safetensors", "Kernels", "Execution", collections],
      path: "Calibration", exclude: ["Models", "Texts", "README.md"]),
    // Level 6
    room(
      "Pipeline",
      [
        "TensorCore", "SafeIO", "GraphIR", "Codecs", "Safetensors", "GGUF", "Llama2C", "Journal",
        "Tokenizers", "PackedModel", "Architectures", "GraphPasses", "Kernels", "Execution",
        "Quantization", "Calibration", "Differentiation", collections, yams,
        "Imatrix", "CompressedTensors", "GPTQFormat", "AWQFormat", "FP8Format", "ModelOptFormat", "MLXFormat",
        "MXFP4Format",
      ], exclude: ["Recipes/RECIPES.md"]),
    room("Evaluation", ["TensorCore", "SafeIO", "LogitBase", "Kernels", "Execution", collections]),
    // Level 7
    .executableTarget(
      name: "adze",
      dependencies: [
        "TensorCore", "SafeIO", "GraphIR", "Codecs", "Safetensors", "LogitBase", "Tokenizers", "PackedModel",
        "Architectures", "GraphDrawing", "GraphPasses", "Execution", "Kernels", "Quantization", "Calibration",
        "Pipeline", "Evaluation", argumentParser,
      ],
      swiftSettings: strict, linkerSettings: carryRuntime),

    // Tests
    .target(
      name: "TestSupport", dependencies: ["TensorCore"], path: "Tests/TestSupport", swiftSettings: strict),
    tests("TensorCoreTests", ["TensorCore"]),
    tests("SafeIOTests", ["SafeIO", "TensorCore"]),
    tests(
      "SafetensorsTests",
      [
        "Safetensors", "Llama2C", "GGUF", "Imatrix", "SafeIO", "TensorCore", collections,
      ]),
    tests(
      "LayoutsTests",
      [
        "GPTQFormat", "AWQFormat", "CompressedTensors", "FP8Format", "ModelOptFormat", "MLXFormat",
        "MXFP4Format",
        "Codecs", "Safetensors", "SafeIO", "TensorCore",
        collections,
      ]),
    tests(
      "TokenizersTests", ["Tokenizers", "GGUF", "Llama2C", "SafeIO", "TensorCore", collections],
      exclude: ["Goldens"]),
    tests("JournalTests", ["Journal", "SafeIO", "TensorCore", collections]),
    tests("PackedModelTests", ["PackedModel", "LogitBase", "SafeIO", "TensorCore", collections]),
    tests("CodecsTests", ["Codecs", "Safetensors", "TensorCore", collections], exclude: ["Goldens"]),
    tests("GraphIRTests", ["GraphIR", "TensorCore", collections]),
    tests("GraphDrawingTests", ["GraphDrawing", "GraphIR"]),
    tests(
      "GraphPassesTests", ["GraphPasses", "GraphIR", "TensorCore", collections], exclude: ["Cases", "Graphs"]),
    tests("KernelsTests", ["Kernels", "CKernels", "Codecs", "TensorCore", collections]),
    tests(
      "ArchitecturesTests",
      [
        "Architectures", "Execution", "Kernels", "GraphPasses", "GraphIR", "Codecs", "Safetensors", "Llama2C",
        "SafeIO", "TensorCore", collections,
      ], exclude: ["Goldens"]),
    tests(
      "ExecutionTests",
      ["Execution", "GraphPasses", "GraphIR", "Kernels", "Codecs", "TensorCore", collections]),
    tests(
      "DifferentiationTests",
      [
        "Differentiation", "Architectures", "GraphIR", "Kernels", "Codecs", "Safetensors", "SafeIO",
        "TensorCore", collections,
      ]),
    tests("QuantizationTests", ["Quantization", "Codecs", "Kernels", "TensorCore", collections]),
    tests(
      "CalibrationTests",
      [
        "Calibration", "Execution", "GraphIR", "Codecs", "Safetensors", "Kernels", "SafeIO", "TensorCore",
        collections,
      ]),
    tests(
      "PipelineTests",
      [
        "Pipeline", "Architectures", "Calibration", "Differentiation", "Execution", "GraphIR", "GraphPasses",
        "Kernels", "Quantization", "Codecs", "GGUF", "Journal", "Safetensors", "PackedModel", "Tokenizers",
        "SafeIO", "TensorCore", collections,
      ], exclude: ["Goldens"]),
    tests("EvaluationTests", ["Evaluation", "Kernels", "LogitBase", "SafeIO", "TensorCore"]),
    tests("CommandTests", ["Kernels", "Safetensors", "SafeIO", "TensorCore", collections]),
    tests("PackageTests", []),
  ]
)
