import SafeIO
import TensorCore

/// Other formats that people hand over in place of safetensors, told by their first bytes alone.
enum ForeignFormat {
  /// The error for a file of another format; nil when the first bytes are of none that is known.
  static func error(_ region: MemoryRegion, file: String) -> SafetensorsError? {
    let start = unsafe region.withBytes { unsafe Array($0.prefix(8)) }
    let pickleHint = """
      load it where you trust it and save it with safetensors.torch.save_file; Adze never reads pickle, \
      which can run code
      """
    if start.starts(with: [0x50, 0x4B, 0x03, 0x04]) || start.starts(with: [0x50, 0x4B, 0x05, 0x06]) {
      return .otherFormat(file: file, kind: "a zip archive (PyTorch checkpoint)", hint: pickleHint)
    }
    if start.count >= 2, start[0] == 0x80, (2...5).contains(start[1]) {
      return .otherFormat(file: file, kind: "a Python pickle (PyTorch checkpoint)", hint: pickleHint)
    }
    if start.starts(with: [0x47, 0x47, 0x55, 0x46]) {
      return .otherFormat(file: file, kind: "a GGUF file", hint: "name it as a GGUF model")
    }
    if start.starts(with: [0x89, 0x48, 0x44, 0x46]) {
      return .otherFormat(file: file, kind: "an HDF5 file", hint: "convert it to safetensors first")
    }
    if start.starts(with: Array("version ".utf8)) {
      return .otherFormat(
        file: file, kind: "a Git LFS pointer", hint: "fetch the real file with git lfs pull")
    }
    return nil
  }
}
