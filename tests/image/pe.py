# Shows a PE file as pefile reads it, and writes its sections to files: pe.py FILE FOLDER
import pathlib, sys, pefile

pe = pefile.PE(sys.argv[1])
folder = pathlib.Path(sys.argv[2])
print("machine", pefile.MACHINE_TYPE[pe.FILE_HEADER.Machine])
print("subsystem", pefile.SUBSYSTEM_TYPE[pe.OPTIONAL_HEADER.Subsystem])
end = 0
for section in pe.sections:
    name = section.Name.rstrip(b"\0").decode()
    start = section.VirtualAddress
    assert start % pe.OPTIONAL_HEADER.SectionAlignment == 0, name
    assert section.PointerToRawData % pe.OPTIONAL_HEADER.FileAlignment == 0, name
    assert start >= end, f"{name} overlaps the section before it"
    end = start + section.Misc_VirtualSize
    data = section.get_data()[: section.Misc_VirtualSize]
    assert len(data) == section.Misc_VirtualSize, f"{name} is cut short"
    print("section", name)
    (folder / name).write_bytes(data)
assert end <= pe.OPTIONAL_HEADER.SizeOfImage, "the image ends before its last section"
for warning in pe.get_warnings():
    print("warning", warning)
