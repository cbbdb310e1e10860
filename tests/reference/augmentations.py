"""Augmentations of one image at a time, by loops and by the paper's matrices: slow references."""

import math

import numpy as np
from scipy.stats import norm


def reflect(index: int, size: int) -> int:
    """The index that reflect padding (without repeating the border) shows there."""
    while not 0 <= index < size:
        index = -index if index < 0 else 2 * (size - 1) - index
    return index


def shift_reflecting(image: np.ndarray, down: int, right: int) -> np.ndarray:
    rows = [reflect(i - down, image.shape[1]) for i in range(image.shape[1])]
    columns = [reflect(j - right, image.shape[2]) for j in range(image.shape[2])]
    return image[:, rows][:, :, columns]


def shift_zero(image: np.ndarray, down: int, right: int) -> np.ndarray:
    result = np.zeros_like(image)
    _, height, width = image.shape
    for i in range(height):
        for j in range(width):
            if 0 <= i - down < height and 0 <= j - right < width:
                result[:, i, j] = image[:, i - down, j - right]
    return result


def diff_augment(image: np.ndarray, u: np.ndarray) -> np.ndarray:
    """color, translation, cutout of one image [3, S, S] by seven uniform numbers (arXiv 2006.10738)."""
    size = image.shape[1]
    image = image + (u[0] - 0.5)
    grey = image.mean(0, keepdims=True)
    image = (image - grey) * (2 * u[1]) + grey
    image = (image - image.mean()) * (u[2] + 0.5) + image.mean()
    reach = int(size / 8 + 0.5)
    image = shift_zero(image, *(-reach + math.floor(x * (2 * reach + 1)) for x in u[3:5])).copy()
    side = int(size / 2 + 0.5)
    centres = [math.floor(x * (size + 1 - side % 2)) for x in u[5:7]]
    rows, columns = ([min(max(c - side // 2 + k, 0), size - 1) for k in range(side)] for c in centres)
    for i in rows:
        for j in columns:
            image[:, i, j] = 0
    return image


def ada_blit(image: np.ndarray, u: np.ndarray, p: float) -> np.ndarray:
    """x-flip, turns by 90°, integer shift (arXiv 2006.06676, appendix B) of one image by seven uniform numbers."""
    size = image.shape[1]
    if u[0] < p and u[1] < 0.5:
        image = image[:, :, ::-1]
    if u[2] < p:
        image = np.rot90(image, math.floor(4 * u[3]), axes=(1, 2))
    if u[4] < p:
        right, down = (round((x - 0.5) * 0.25 * size) for x in u[5:7])
        image = shift_reflecting(image, down, right)
    return image


def ada_matrix(u: np.ndarray, p: float, size: int) -> np.ndarray:
    """The geometric map of the paper: scale, turn, stretch, turn, fractional shift, from eleven uniform numbers."""
    matrix = np.eye(3)

    def then(step: list[list[float]]) -> None:
        nonlocal matrix
        matrix = np.array(step) @ matrix

    def turn(angle: float) -> list[list[float]]:  # counter-clockwise, the second axis pointing down
        return [[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]]

    p_rotation = 1 - math.sqrt(1 - p)
    if u[0] < p:
        s = math.exp(0.2 * math.log(2) * norm.ppf(u[1]))
        then([[s, 0, 0], [0, s, 0], [0, 0, 1]])
    if u[2] < p_rotation:
        then(turn((2 * u[3] - 1) * math.pi))
    if u[4] < p:
        s = math.exp(0.2 * math.log(2) * norm.ppf(u[5]))
        then([[s, 0, 0], [0, 1 / s, 0], [0, 0, 1]])
    if u[6] < p_rotation:
        then(turn((2 * u[7] - 1) * math.pi))
    if u[8] < p:
        then([[1, 0, 0.125 * size * norm.ppf(u[9])], [0, 1, 0.125 * size * norm.ppf(u[10])], [0, 0, 1]])
    return matrix


def ada_color(image: np.ndarray, u: np.ndarray, p: float) -> np.ndarray:
    """Brightness, contrast, luma flip, hue, saturation of one image, pixel vectors at a time, by ten uniform numbers."""
    pixels = image.reshape(3, -1)
    axis = np.ones((3, 1)) / math.sqrt(3)
    if u[0] < p:
        pixels = pixels + 0.2 * norm.ppf(u[1])
    if u[2] < p:
        pixels = pixels * math.exp(0.5 * math.log(2) * norm.ppf(u[3]))
    if u[4] < p and u[5] < 0.5:
        pixels = pixels - 2 * axis @ (axis.T @ pixels)
    if u[6] < p:
        angle = (2 * u[7] - 1) * math.pi
        # Rodrigues' rotation of each pixel about the grey axis
        along = axis @ (axis.T @ pixels)
        turned = np.cross(axis.T, pixels.T).T
        pixels = pixels * math.cos(angle) + turned * math.sin(angle) + along * (1 - math.cos(angle))
    if u[8] < p:
        along = axis @ (axis.T @ pixels)
        pixels = along + (pixels - along) * math.exp(math.log(2) * norm.ppf(u[9]))
    return pixels.reshape(image.shape)
